# SPDX-License-Identifier: GPL-2.0-or-later
. /lib/case.sh
check "only this case's directory is there" equals alone "$(ls /cases)"
check "its script is there" equals "case.toml env run.sh" "$(ls /cases/alone | tr '\n' ' ' | sed 's/ $//')"
check "no artifact of another case is there" absent /artifacts
check "no file of another case is there" absent /left-behind
check "no evidence of another case is there" absent /run/evidence/passes
date >/left-behind
