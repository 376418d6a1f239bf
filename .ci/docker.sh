# shellcheck shell=bash
# Sourced by .ci/run: Debian packages, a Docker daemon of our own where none answers, the compose v2 plugin.
# Everything that is started here is stopped by stop_docker, by pid.

DOCKERD_PID=""
BRIDGE="hrci$$"

install_packages() {
    local missing=()
    [ -e /etc/ssl/certs/ca-certificates.crt ] || missing+=(ca-certificates)
    command -v ip >/dev/null || missing+=(iproute2)
    [ -x /usr/bin/redis-server ] || missing+=(redis-server)
    command -v rabbitmq-server >/dev/null || missing+=(rabbitmq-server)
    command -v docker >/dev/null && { docker info >/dev/null 2>&1 || command -v dockerd >/dev/null; } ||
        missing+=(docker.io)
    python3 -c 'import ensurepip, venv' 2>/dev/null || missing+=(python3-venv)
    [ ${#missing[@]} -gt 0 ] || return 0
    if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
        echo "missing: ${missing[*]}; install them (on Debian this gate does, as root) and run it again"
        return 1
    fi
    echo "installing: ${missing[*]}"
    # A package must not start a service on the machine that the gate runs on.
    local policy=/usr/sbin/policy-rc.d own_policy=""
    if [ ! -e "$policy" ]; then
        printf '#!/bin/sh\nexit 101\n' >"$policy"
        chmod +x "$policy"
        own_policy=1
    fi
    local status=0
    {
        apt-get update -qq &&
            DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >"$SCRATCH/apt.log" 2>&1
    } || status=$?
    [ -z "$own_policy" ] || rm -f "$policy"
    if [ "$status" -ne 0 ]; then
        tail -n 20 "$SCRATCH/apt.log" 2>/dev/null
        return "$status"
    fi
}

start_docker() {
    # Ryuk's image cannot be pulled everywhere; the tests remove what they start, and a daemon of ours is emptied.
    export TESTCONTAINERS_RYUK_DISABLED="${TESTCONTAINERS_RYUK_DISABLED:-true}"
    if docker info >/dev/null 2>&1; then
        echo "a daemon answers; using it"
        return
    fi
    export DOCKER_HOST="unix://$SCRATCH/docker.sock"
    # A daemon of our own is on this machine, even where this machine is a container: testcontainers would otherwise
    # look for published ports at the gateway.
    export TESTCONTAINERS_CONNECTION_MODE=docker_host TESTCONTAINERS_HOST_OVERRIDE=localhost
    # A bridge of its own, and no firewall rules: the ports are published by docker-proxy, which needs none, and
    # afterwards the machine's network is what it was.
    ip link add name "$BRIDGE" type bridge
    dockerd --data-root "$SCRATCH/docker-data" --exec-root "$SCRATCH/docker-exec" --pidfile "$SCRATCH/docker.pid" \
        --host "$DOCKER_HOST" --bridge "$BRIDGE" --iptables=false --ip6tables=false --ip-masq=false \
        --ip-forward=false >"$SCRATCH/dockerd.log" 2>&1 </dev/null &
    DOCKERD_PID=$!
    local try
    for try in $(seq 120); do
        docker info >/dev/null 2>&1 && break
        if ! kill -0 "$DOCKERD_PID" 2>/dev/null || [ "$try" -eq 120 ]; then
            echo "the Docker daemon did not start:"
            tail -n 30 "$SCRATCH/dockerd.log"
            return 1
        fi
        sleep 0.5
    done
    docker info --format 'started a daemon of our own: {{.ServerVersion}}, {{.Driver}}'
}

stop_docker() {
    [ -n "$DOCKERD_PID" ] || return 0
    local containers
    containers="$(docker ps -aq 2>/dev/null)" || containers=""
    # shellcheck disable=SC2086 # one word each
    [ -z "$containers" ] || docker rm -f -v $containers >/dev/null 2>&1 || true
    kill "$DOCKERD_PID" 2>/dev/null || true
    wait "$DOCKERD_PID" 2>/dev/null || true
    DOCKERD_PID=""
    ip link delete "$BRIDGE" 2>/dev/null || true
    # What the daemon leaves mounted, deepest first, so that its folder can be removed.
    { grep -o " $SCRATCH/[^ ]*" /proc/self/mounts || true; } | sort -r | while read -r mount; do
        umount "$mount" || true
    done
}

install_compose() {
    if docker compose version >/dev/null 2>&1; then
        docker compose version
        return
    fi
    # bookworm has only compose 1.29; trixie's plugin runs on it. Private lists: the machine's own stay as they are.
    local plugin="$CACHE/compose-trixie/docker-compose"
    if [ ! -x "$plugin" ]; then
        local mirror apt="$SCRATCH/apt"
        # shellcheck disable=SC2016 # apt-get fills these in
        mirror="$(apt-get indextargets --format '$(REPO_URI) $(CODENAME) $(COMPONENT)' 'Created-By: Packages' |
            awk '$3 == "main" && $2 !~ /-/ { print $1; exit }')"
        mkdir -p "$apt/lists/partial" "$apt/cache/archives/partial" "$(dirname "$plugin")"
        echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror trixie main" >"$apt/sources.list"
        local options=(-qq -o "Dir::Etc::sourcelist=$apt/sources.list" -o Dir::Etc::sourceparts=/dev/null
            -o "Dir::State::lists=$apt/lists" -o "Dir::Cache=$apt/cache" -o APT::Sandbox::User=root)
        apt-get "${options[@]}" update
        (cd "$apt" && apt-get "${options[@]}" download docker-compose && dpkg-deb -x docker-compose_*.deb unpacked)
        cp "$apt/unpacked/usr/libexec/docker/cli-plugins/docker-compose" "$plugin.new"
        mv "$plugin.new" "$plugin"
    fi
    local settings="${DOCKER_CONFIG:-$HOME/.docker}" part
    export DOCKER_CONFIG="$SCRATCH/docker-config"
    mkdir -p "$DOCKER_CONFIG/cli-plugins"
    for part in config.json contexts; do # the user's registries and contexts stay in force
        [ ! -e "$settings/$part" ] || cp -R "$settings/$part" "$DOCKER_CONFIG/"
    done
    ln -sf "$plugin" "$DOCKER_CONFIG/cli-plugins/docker-compose"
    docker compose version
}
