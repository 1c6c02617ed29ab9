#!/usr/bin/env bash
# Shows that the simulation can fail: applies each deliberate defect to a copy of the workspace, and
# expects the simulation to find it within a minute.
#
#   crates/sim/defects.sh [crates/sim/defects/NAME.patch ...]
#
# A patch begins with the lines `scenario: NAME` and `breaks: INVARIANT ...`; one of these has to be
# found, and nothing without the defect. The copy has all files that git knows, as they are now; what
# is built for it stays in target/sim-defects. Ends with 0 if every defect is found.
set -euo pipefail
cd "$(dirname "$0")/../.."

seconds=${SIM_DEFECT_SECONDS:-60}
steps=1000000000000
clean_steps=200000
root=$PWD/target/sim-defects
copy=$root/copy
export CARGO_TARGET_DIR=$root/target

patches=("$@")
[ ${#patches[@]} -gt 0 ] || patches=(crates/sim/defects/*.patch)
[ -e "${patches[0]}" ] || { echo "there are no defects in crates/sim/defects" >&2; exit 2; }

# Made anew, with new times of its files: an older run may have been ended with a patch applied.
rm -rf "$copy"
mkdir -p "$copy"
git ls-files -z --cached --others --exclude-standard |
    tar --create --null --files-from=- --ignore-failed-read 2>/dev/null | tar --extract --touch --directory="$copy"

field() { sed -n "s/^$2: //p;/^diff /q" "$1"; }
# Without a repository around it, git applies patches to plain files.
apply() { (cd "$copy" && GIT_CEILING_DIRECTORIES=$root git apply "$@"); }
build() { (cd "$copy" && cargo build -q -p gatewayworker-sim); }
simulate() { timeout "$seconds" "$CARGO_TARGET_DIR/debug/gatewayworker-sim" --scenario "$1" --steps "$2"; }

build
for scenario in $(for patch in "${patches[@]}"; do field "$patch" scenario; done | sort -u); do
    simulate "$scenario" $clean_steps >/dev/null || { echo "$scenario fails without any defect" >&2; exit 2; }
done

missed=0
for patch in "${patches[@]}"; do
    name=$(basename "$patch" .patch)
    apply "$(realpath "$patch")"
    if build; then
        started=$SECONDS
        code=0
        printed=$(simulate "$(field "$patch" scenario)" $steps) || code=$?
        found=$(sed -n 's/^broken invariant: \([^:]*\):.*/\1/p' <<<"$printed")
        if [ "$code" = 1 ] && [ -n "$found" ] && [[ " $(field "$patch" breaks) " == *" $found "* ]]; then
            echo "$name: $found is found after $((SECONDS - started)) s ($(sed -n 2p <<<"$printed"))"
        else
            echo "$name: MISSED, with code $code; it printed: ${printed:-nothing within $seconds s}"
            missed=1
        fi
    else
        echo "$name: MISSED, it does not build"
        missed=1
    fi
    apply --reverse "$(realpath "$patch")"
done
exit $missed
