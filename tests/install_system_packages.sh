#!/usr/bin/env bash
# Install what the tests need from the system: a browser and a font, a Secret Service.
#
#   tests/install_system_packages.sh              all of it; does nothing when everything is there
#   tests/install_system_packages.sh PACKAGE ...  these apt packages
#
# It uses apt-get, as root or through a sudo that asks for no password, and Homebrew on macOS. Where it may
# not, it says what is missing and ends with 1. VENV names the environment whose Playwright may bring a
# browser where the system has none (default .venv).
set -euo pipefail

VENV=${VENV:-.venv}
CACHES="${PLAYWRIGHT_BROWSERS_PATH:-} $HOME/.cache/ms-playwright $HOME/Library/Caches/ms-playwright"

say() { printf '%s\n' "$*" >&2; }

has() { command -v "$1" >/dev/null 2>&1; }

# Ubuntu's chromium is a snap, whose confinement keeps it out of the tests' folders.
is_snap() { [ "$(readlink -f "$1")" = /usr/bin/snap ] || grep -qs /snap/bin "$1"; }

has_browser() {
    local name cache
    [ -z "${ORCHSTATE_CHROMIUM:-}" ] || return 0
    for name in chromium chromium-browser google-chrome google-chrome-stable; do
        if has "$name" && ! is_snap "$(command -v "$name")"; then return 0; fi
    done
    [ -d /Applications/Chromium.app ] || [ -d "/Applications/Google Chrome.app" ] && return 0
    for cache in $CACHES; do
        if compgen -G "$cache/chromium-*" >/dev/null; then return 0; fi
    done
    return 1
}

has_font() { [ -n "$(find /usr/share/fonts -name DejaVuSans.ttf -print -quit 2>/dev/null)" ]; }

has_library() { [[ "$(PATH=$PATH:/sbin:/usr/sbin ldconfig -p 2>/dev/null)" == *"$1"* ]]; }

missing_packages() {
    has_browser || echo chromium
    has_font || echo fonts-dejavu-core
    has gnome-keyring-daemon || echo gnome-keyring
    has dbus-daemon || echo dbus
    has secret-tool || echo libsecret-tools
    # Playwright's driver and llama.cpp are built against these two.
    has_library libatomic.so.1 || echo libatomic1
    has_library libgomp.so.1 || echo libgomp1
}

may_install() { has apt-get && { [ "$(id -u)" = 0 ] || sudo -n true 2>/dev/null; }; }

as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo -n "$@"; fi; }

apt() {
    as_root env DEBIAN_FRONTEND=noninteractive apt-get -q -y -o Acquire::Retries=5 -o DPkg::Lock::Timeout=300 \
        "$@" >&2
}

apt_install() {
    say "Installing $* ..."
    apt update
    local packages=("$@") others=() package
    if [[ " $* " == *" chromium "* ]] && ! apt-cache show chromium >/dev/null 2>&1; then
        for package in "${packages[@]}"; do [ "$package" = chromium ] || others+=("$package"); done
        packages=(${others[@]+"${others[@]}"})
        playwright_install --with-deps
    fi
    [ ${#packages[@]} = 0 ] || apt install --no-install-recommends "${packages[@]}"
}

playwright_install() {
    if ! "$VENV/bin/playwright" install "$@" chromium >&2; then
        say "No Chromium could be installed. Install one and name it in ORCHSTATE_CHROMIUM."
        exit 1
    fi
}

on_macos() {
    say "The Secret Service is Linux's keyring: tests marked 'keyring' are skipped on macOS."
    has_browser && return
    if has brew && brew install --cask chromium >&2; then return; fi
    playwright_install
}

main() {
    if [ "$(uname)" = Darwin ]; then on_macos; return; fi
    local packages=("$@")
    if [ $# = 0 ]; then read -r -a packages <<<"$(missing_packages | tr '\n' ' ')"; fi
    [ ${#packages[@]} -gt 0 ] || return 0
    if may_install; then apt_install "${packages[@]}"; return; fi
    say "Missing: ${packages[*]}"
    say "Install them as an administrator: apt-get install --no-install-recommends ${packages[*]}"
    say "(or their counterparts of another system; 'make test-fast' needs none of them)."
    return 1
}

main "$@"
