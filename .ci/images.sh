# shellcheck shell=bash
# Sourced by .ci/run: the images that compose.yaml and testcontainers start. Official ones where they can be pulled;
# else stand-ins from real parts, tagged with the version that they truly are (docs/adr/0004-stand-in-images.md).

REDIS_IMAGE_DEFAULT="redis:7.4"
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
