#!/bin/sh
# Installs into a directory of its own and builds a program against what pkg-config says: shared,
# static, and as C++ when there is a compiler. Usage: install_test.sh BUILD_DIR SOURCE_DIR MESON
set -eu
build=$1
source=$2
meson=$3
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
"$meson" install -C "$build" --no-rebuild --quiet --destdir "$root"

pc=$(find "$root" -name tally.pc)
libdir=$(dirname "$(dirname "$pc")")
export PKG_CONFIG_PATH="$(dirname "$pc")" PKG_CONFIG_SYSROOT_DIR="$root"
export LD_LIBRARY_PATH="$libdir"
flags=$(pkg-config --cflags --libs tally)
flags_static=$(pkg-config --static --cflags --libs tally)

cc -Wall -Wextra -Werror -std=c11 "$source/install_program.c" $flags -o "$root/shared"
"$root/shared"
ldd "$root/shared" | grep -q 'libtally.so.0 => ' || { echo "not linked to libtally.so.0"; exit 1; }

# The archive by name, so that nothing of ours is taken from the shared library.
cc -Wall -Wextra -Werror -std=c11 "$source/install_program.c" \
    $(pkg-config --cflags tally) "$libdir/libtally.a" \
    $(echo "$flags_static" | tr ' ' '\n' | grep -v -e '^-ltally$' | tr '\n' ' ') -o "$root/static"
"$root/static"

if command -v c++ >/dev/null; then
    c++ -Wall -Wextra -Werror -pedantic -std=c++11 -x c++ "$source/install_program.c" -x none $flags \
        -o "$root/shared_cxx"
    "$root/shared_cxx"
else
    echo "no C++ compiler: that part is left out"
fi

# Only the public functions are visible in the shared library.
others=$(nm -D --defined-only "$libdir/libtally.so.0" | awk '{print $3}' |
    grep -v -e '^tally_[a-z]' -e '^LIBTALLY_' || true)
[ -z "$others" ] || { echo "visible, and not in tally.h: $others"; exit 1; }
