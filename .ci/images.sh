# shellcheck shell=bash
# Sourced by .ci/run: the images that compose.yaml and testcontainers start. Official ones where they can be pulled;
# else stand-ins from real parts, tagged with the version that they truly are (docs/adr/0004-stand-in-images.md).

REDIS_IMAGE_DEFAULT="redis:7.4"
RABBITMQ_IMAGE_DEFAULT="rabbitmq:3.13"
JAEGER_IMAGE_DEFAULT="jaegertracing/jaeger:2.20.0"
JAEGER_COMMIT=798e4b0fcf22 # v2.20.0: the module path has no /v2, so Go is asked for the commit
JAEGER_FALLBACK=v1.76.0    # the same sources as v2.13.0

COLLECTOR_IMAGE_DEFAULT="otel/opentelemetry-collector-contrib:0.158.0"

IMPORTED=()

have() { # IMAGE
    docker image inspect "$1" >/dev/null 2>&1
}

have_or_pull() { # IMAGE
    have "$1" || timeout 120 docker pull --quiet "$1" >/dev/null 2>&1
}

# A stand-in has an official name: it must not stay behind in a daemon that is not ours.
remove_images() {
    [ -n "$DOCKERD_PID" ] || [ ${#IMPORTED[@]} -eq 0 ] || docker image rm --force "${IMPORTED[@]}" >/dev/null
}

import_image() { # FOLDER IMAGE [docker import options]
    local folder=$1 image=$2
    shift 2
    tar -C "$folder" -c . | docker import "$@" - "$image" >/dev/null
    IMPORTED+=("$image")
    rm -rf "$folder"
}

copy_with_libraries() { # FOLDER FILE...
    local folder=$1 file
    shift
    for file in "$@"; do
        cp -L --parents "$file" "$folder/"
        { ldd "$file" 2>/dev/null || true; } | { grep -o '/[^ ]*' || true; } | sort -u | while read -r library; do
            cp -L --parents "$library" "$folder/"
        done
    done
}

provide_redis() {
    export HANDRAIL_REDIS_IMAGE="${HANDRAIL_REDIS_IMAGE:-$REDIS_IMAGE_DEFAULT}"
    if have_or_pull "$HANDRAIL_REDIS_IMAGE"; then
        echo "$HANDRAIL_REDIS_IMAGE: official"
        return
    fi
    local version root="$SCRATCH/redis-root"
    version="$(/usr/bin/redis-server --version | sed -n 's/.* v=\([0-9.]*\) .*/\1/p')"
    HANDRAIL_REDIS_IMAGE="redis:$version"
    if have "$HANDRAIL_REDIS_IMAGE"; then
        echo "$HANDRAIL_REDIS_IMAGE: already here ($REDIS_IMAGE_DEFAULT cannot be pulled)"
        return
    fi
    mkdir -p "$root/usr/local/bin" "$root/data" "$root/tmp" "$root/bin"
    copy_with_libraries "$root" /usr/bin/redis-server /usr/bin/redis-cli /bin/dash
    ln -s dash "$root/bin/sh"
    cat >"$root/usr/local/bin/docker-entrypoint.sh" <<'SH'
#!/bin/sh
# The official image is built with protected mode off; Debian's package is not.
[ "$1" = redis-server ] && set -- "$@" --protected-mode no
exec "$@"
SH
    chmod +x "$root/usr/local/bin/docker-entrypoint.sh"
    import_image "$root" "$HANDRAIL_REDIS_IMAGE" -c 'ENTRYPOINT ["docker-entrypoint.sh"]' -c 'CMD ["redis-server"]' \
        -c 'ENV PATH=/usr/local/bin:/usr/bin:/bin' -c 'EXPOSE 6379' -c 'WORKDIR /data'
    echo "$HANDRAIL_REDIS_IMAGE: stand-in from the Debian package ($REDIS_IMAGE_DEFAULT cannot be pulled)"
}

# Debian's package and Erlang below it, with the tools that its scripts call; the interface is the official image's as far
# as we use it: RABBITMQ_DEFAULT_USER and RABBITMQ_DEFAULT_PASS, which RabbitMQ reads itself, and rabbitmq-diagnostics.
provide_rabbitmq() {
    export HANDRAIL_RABBITMQ_IMAGE="${HANDRAIL_RABBITMQ_IMAGE:-$RABBITMQ_IMAGE_DEFAULT}"
    if have_or_pull "$HANDRAIL_RABBITMQ_IMAGE"; then
        echo "$HANDRAIL_RABBITMQ_IMAGE: there"
        return
    fi
    local version root="$SCRATCH/rabbitmq-root" file
    # shellcheck disable=SC2016 # dpkg-query fills it in
    version="$(dpkg-query --show --showformat='${Version}' rabbitmq-server | sed 's/-.*//')"
    HANDRAIL_RABBITMQ_IMAGE="rabbitmq:$version"
    if have "$HANDRAIL_RABBITMQ_IMAGE"; then
        echo "$HANDRAIL_RABBITMQ_IMAGE: already here ($RABBITMQ_IMAGE_DEFAULT cannot be pulled)"
        return
    fi
    mkdir -p "$root/bin" "$root/usr/lib" "$root/etc/rabbitmq" "$root/var/lib/rabbitmq" "$root/var/log/rabbitmq"
    install -d -m 1777 "$root/tmp"
    cp -a /usr/lib/erlang /usr/lib/rabbitmq "$root/usr/lib/"
    find /usr/lib/erlang -type f \( -perm -u+x -o -name '*.so' \) | while read -r file; do
        [ "$(head -c 4 "$file" | tr -d '\0')" != $'\x7fELF' ] || copy_with_libraries "$root" "$file"
    done
    for file in basename cat chmod cut dash dirname expr grep head hostname id ls mkdir readlink rm sed sleep stat \
        touch tr uname; do
        copy_with_libraries "$root" "$(readlink -f "$(command -v "$file")")"
    done
    [ -e "$root/bin/dash" ] || cp "$root/usr/bin/dash" "$root/bin/dash"
    ln -s dash "$root/bin/sh"
    import_image "$root" "$HANDRAIL_RABBITMQ_IMAGE" -c 'CMD ["rabbitmq-server"]' -c 'ENV RABBITMQ_LOGS=-' \
        -c 'ENV PATH=/usr/lib/rabbitmq/bin:/usr/lib/erlang/bin:/usr/bin:/bin' -c 'ENV HOME=/var/lib/rabbitmq' \
        -c 'ENV LANG=C.UTF-8' -c 'EXPOSE 5672'
    echo "$HANDRAIL_RABBITMQ_IMAGE: stand-in from the Debian package ($RABBITMQ_IMAGE_DEFAULT cannot be pulled)"
}

# In place of what examples/Dockerfile builds, whose base image may not be to be had: this machine's Python, and handrail
# with what it needs, installed for it. Needs uv, and the checkout in the current folder.
provide_agents() {
    export HANDRAIL_AGENTS_IMAGE="handrail-agents:gate"
    local root="$SCRATCH/agents-root" python stdlib library
    python="$(readlink -f "$(uv run python -c 'import sys; print(sys._base_executable)')")"
    stdlib="$("$python" -c 'import sysconfig; print(sysconfig.get_path("stdlib"))')"
    mkdir -p "$root/usr/local/bin" "$root/agents" "$root$stdlib"
    install -d -m 1777 "$root/tmp"
    copy_with_libraries "$root" "$python" /bin/dash
    ln -s dash "$root/bin/sh"
    tar -C "$stdlib" --exclude=test --exclude=site-packages --exclude=dist-packages --exclude=__pycache__ -c . |
        tar -C "$root$stdlib" -x
    uv pip install --quiet --python "$python" --target "$root/opt/handrail" . tzdata
    find "$root/opt/handrail" "$root$stdlib" -name '*.so*' -type f -exec ldd {} + 2>/dev/null |
        { grep -o '/[^ ]*\.so[^ ]*' || true; } | sort -u | while read -r library; do
        [[ "$library" == "$root"/* ]] || [ ! -e "$library" ] || [ -e "$root$library" ] || cp -L --parents "$library" "$root/"
    done
    printf '#!/bin/sh\nexec env PYTHONPATH=/opt/handrail %s -m celery "$@"\n' "$python" >"$root/usr/local/bin/celery"
    chmod +x "$root/usr/local/bin/celery"
    copy_with_libraries "$root" "$(readlink -f "$(command -v env)")"
    import_image "$root" "$HANDRAIL_AGENTS_IMAGE" -c 'ENV PATH=/usr/local/bin:/usr/bin:/bin' -c 'WORKDIR /agents'
    echo "$HANDRAIL_AGENTS_IMAGE: from this machine's Python"
}

provide_jaeger() {
    export HANDRAIL_JAEGER_IMAGE="${HANDRAIL_JAEGER_IMAGE:-$JAEGER_IMAGE_DEFAULT}"
    if have_or_pull "$HANDRAIL_JAEGER_IMAGE"; then
        echo "$HANDRAIL_JAEGER_IMAGE: official"
        return
    fi
    local binary="$CACHE/jaeger-$JAEGER_COMMIT/jaeger" version=2.20.0
    if [ ! -x "$binary" ] && ! compile_jaeger "$JAEGER_COMMIT" "$binary"; then
        echo "Jaeger v2.20.0 ($JAEGER_COMMIT) is not to be had here; falling back to $JAEGER_FALLBACK (= v2.13.0)"
        version=2.13.0
        binary="$CACHE/jaeger-$JAEGER_FALLBACK/jaeger"
        [ -x "$binary" ] || compile_jaeger "$JAEGER_FALLBACK" "$binary"
    fi
    HANDRAIL_JAEGER_IMAGE="jaegertracing/jaeger:$version"
    if have "$HANDRAIL_JAEGER_IMAGE"; then
        echo "$HANDRAIL_JAEGER_IMAGE: already here ($JAEGER_IMAGE_DEFAULT cannot be pulled)"
        return
    fi
    local root="$SCRATCH/jaeger-root"
    mkdir -p "$root/cmd/jaeger" "$root/etc/ssl/certs"
    install -d -m 1777 "$root/tmp"
    cp "$binary" "$root/cmd/jaeger/jaeger-linux"
    import_image "$root" "$HANDRAIL_JAEGER_IMAGE" -c 'ENTRYPOINT ["/cmd/jaeger/jaeger-linux"]' \
        -c 'ENV JAEGER_LISTEN_HOST=0.0.0.0' -c 'EXPOSE 4317 4318 13133 16686'
    echo "$HANDRAIL_JAEGER_IMAGE: stand-in compiled from its Go module ($JAEGER_IMAGE_DEFAULT cannot be pulled)"
}

compile_jaeger() { # VERSION BINARY
    local version=$1 binary=$2 folder
    command -v go >/dev/null || { echo "Go is needed to compile Jaeger $version"; return 1; }
    folder="$(cd "$SCRATCH" && go mod download -json "github.com/jaegertracing/jaeger@$version" 2>/dev/null |
        sed -n 's/^\t"Dir": "\(.*\)",\{0,1\}$/\1/p')" || return 1
    [ -n "$folder" ] || return 1
    echo "compiling Jaeger $version (some minutes; kept in the cache)"
    mkdir -p "$(dirname "$binary")"
    (cd "$folder" && CGO_ENABLED=0 go build -mod=mod -trimpath -ldflags='-s -w' -o "$binary.new" ./cmd/jaeger) >"$SCRATCH/go.log" 2>&1 || {
        tail -n 20 "$SCRATCH/go.log"
        return 1
    }
    mv "$binary.new" "$binary"
}

# .ci/collector holds the parts of the official distribution that collector.yaml uses, pinned to the image's version.
provide_collector() {
    export HANDRAIL_COLLECTOR_IMAGE="${HANDRAIL_COLLECTOR_IMAGE:-$COLLECTOR_IMAGE_DEFAULT}"
    if have_or_pull "$HANDRAIL_COLLECTOR_IMAGE"; then
        echo "$HANDRAIL_COLLECTOR_IMAGE: there"
        return
    fi
    HANDRAIL_COLLECTOR_IMAGE="$COLLECTOR_IMAGE_DEFAULT"
    local version="${COLLECTOR_IMAGE_DEFAULT##*:}" root="$SCRATCH/collector-root"
    local binary="$CACHE/collector-$version/otelcol-contrib"
    if [ ! -x "$binary" ]; then
        command -v go >/dev/null || { echo "Go is needed to compile the Collector"; return 1; }
        echo "compiling the Collector $version (some minutes; kept in the cache)"
        mkdir -p "$(dirname "$binary")"
        (cd "$here/collector" && CGO_ENABLED=0 go build -trimpath -ldflags='-s -w' -o "$binary.new" .) >"$SCRATCH/go.log" 2>&1 || {
            tail -n 20 "$SCRATCH/go.log"
            return 1
        }
        mv "$binary.new" "$binary"
    fi
    mkdir -p "$root/etc/otelcol-contrib" "$root/state"
    install -d -m 1777 "$root/tmp"
    cp "$binary" "$root/otelcol-contrib"
    import_image "$root" "$HANDRAIL_COLLECTOR_IMAGE" -c 'ENTRYPOINT ["/otelcol-contrib"]' \
        -c 'CMD ["--config", "/etc/otelcol-contrib/config.yaml"]' -c 'EXPOSE 13133'
    echo "$HANDRAIL_COLLECTOR_IMAGE: stand-in compiled from its Go modules ($COLLECTOR_IMAGE_DEFAULT cannot be pulled)"
}
