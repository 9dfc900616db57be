# What the scripts that build and try the packages have in common; they source it.

export DEBIAN_FRONTEND=noninteractive
# Debian puts mke2fs and mosquitto where only root looks, rustup puts cargo where only login shells do.
export PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin:${CARGO_HOME:-$HOME/.cargo}/bin"
target=$(realpath -m "${CARGO_TARGET_DIR:-target}")
mirror=${DEBIAN_MIRROR:-http://deb.debian.org/debian}

fail() {
    echo "$0: $1" >&2
    exit 1
}

say() {
    echo "$0: $1" >&2
}

# Rust's name and Debian's for an architecture, in $triple and $debian.
name_architecture() {
    case $1 in
    aarch64) triple=aarch64-unknown-linux-gnu debian=arm64 ;;
    armv7) triple=armv7-unknown-linux-gnueabihf debian=armhf ;;
    x86_64) triple=x86_64-unknown-linux-gnu debian=amd64 ;;
    *) fail "$1 is not an architecture that is built for; these are: aarch64 armv7 x86_64" ;;
    esac
}

# need COMMAND=PACKAGE...: installs the Debian packages of commands that are missing.
need() {
    local pair missing=()
    for pair in "$@"; do
        command -v "${pair%%=*}" >/dev/null || missing+=("${pair#*=}")
    done
    ((${#missing[@]})) && install_packages "${missing[@]}"
    return 0
}

install_packages() {
    command -v apt-get >/dev/null || fail "missing, and there is no apt-get to install it: $*"
    [[ $EUID -eq 0 ]] || fail "missing; as root: apt-get install $*"
    local install=(apt-get install --yes --no-install-recommends "$@")
    # A new machine has no package lists, or old ones.
    { "${install[@]}" || { apt-get update && "${install[@]}"; }; } >&2 ||
        fail "could not be installed: $*"
}

# need_python VENV PIP-ARGUMENT...: what pip installs from these arguments, in a venv.
need_python() {
    local venv=$1
    shift
    if ! "$venv/bin/python" -m pip --version >/dev/null 2>&1; then
        python3 -c 'import ensurepip' 2>/dev/null || install_packages python3 python3-venv
        python3 -m venv --clear "$venv"
    fi
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check "$@"
}

# unpack_debian FOLDER SUITE ARCHITECTURES PACKAGES: packages of any suite and all that they depend on,
# unpacked but not installed; names are joined by commas.
unpack_debian() {
    [[ ! -d $1 ]] || return 0
    need mmdebstrap=mmdebstrap
    say "unpacking $4 of Debian $2 into $1"
    rm -rf "$1.partial"
    # sid is old where a mirror's copy is.
    mmdebstrap --quiet --variant=extract --architectures="$3" --include="$4" \
        --aptopt='Acquire::Check-Valid-Until "false"' \
        --format=directory "$2" "$1.partial" "$mirror" </dev/null >&2
    mv "$1.partial" "$1"
}
