# Sourced by the scripts beside it: which Debian packages each job needs, and how to install the
# missing ones. Everything comes from Debian 12 (13 works as well), nothing from anywhere else.
# shellcheck shell=bash

packages_build=(gcc libc6-dev meson ninja-build pkg-config python3
    liblmdb-dev libraft-dev libuv1-dev libssl-dev libnghttp2-dev libprotobuf-c-dev protobuf-c-compiler
    protobuf-compiler libmicrohttpd-dev libjansson-dev libxxhash-dev libyaml-dev)
packages_demo=(procps)
packages_coverage=(lcov)
packages_model=(spin gcc libc6-dev)
packages_chaos=(iproute2 nftables e2fsprogs util-linux)
packages_test=(libcriterion-dev python3-grpcio python3-protobuf clang clang-format libclang-rt-dev
    openssl procps git)

# The sanitizer runtime of clang is packaged under clang's version.
clang_runtime_package()
{
    local version
    version=$(apt-cache depends clang | sed -n 's/.*Depends: clang-\([0-9][0-9]*\).*/\1/p' | head -n 1)
    echo "libclang-rt-${version:-14}-dev"
}

is_installed()
{
    dpkg-query -W -f='${Status}' "$1" 2>/dev/null | grep -q 'ok installed'
}

# install_packages NAME...: installs those that are missing, as root or through sudo.
install_packages()
{
    local missing=() name
    for name in "$@"; do
        if [ "$name" = libclang-rt-dev ]; then
            compgen -G '/usr/lib/llvm-*/lib/clang/*/lib/linux/libclang_rt.fuzzer-*.a' >/dev/null ||
                missing+=("$name")
        elif ! is_installed "$name"; then
            missing+=("$name")
        fi
    done
    if [ ${#missing[@]} -eq 0 ]; then
        echo "== Debian packages: all there"
        return 0
    fi

    local as_root=()
    if [ "$(id -u)" -ne 0 ]; then
        if ! command -v sudo >/dev/null; then
            echo "error: Debian packages are missing: ${missing[*]}" >&2
            echo "       install them as root, or install sudo, then run this again" >&2
            return 1
        fi
        as_root=(sudo)
    fi
    echo "== Debian packages: installing ${missing[*]}"
    local log
    log=$(mktemp)
    if ! "${as_root[@]}" apt-get update -q >"$log" 2>&1; then
        tail -n 20 "$log" >&2
        echo "error: apt-get update failed; the whole log is in $log" >&2
        return 1
    fi
    missing=("${missing[@]/#libclang-rt-dev/$(clang_runtime_package)}")
    if ! "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
        apt-get install -y -q --no-install-recommends "${missing[@]}" >>"$log" 2>&1; then
        tail -n 20 "$log" >&2
        echo "error: apt-get could not install the packages; the whole log is in $log" >&2
        return 1
    fi
    rm -f "$log"
}

# configure_build DIRECTORY [MESON OPTION...]: sets a build directory up, or brings an existing one
# to these options.
configure_build()
{
    local directory=$1
    shift
    local log="$directory.log" action=(setup "$directory" "$@")
    if [ -f "$directory/build.ninja" ]; then
        action=(configure "$directory" "$@")
    fi
    if ! meson "${action[@]}" >"$log" 2>&1; then
        tail -n 20 "$log" >&2
        echo "error: meson ${action[*]} failed; the whole log is in $log" >&2
        return 1
    fi
    rm -f "$log"
}
