# SPDX-License-Identifier: GPL-2.0-or-later
. /lib/case.sh
. /lib/livepatch.sh
. /lib/selftest.sh

# The first of four numbers. (The shell's own `read` reads byte by byte, which files of /proc/sys do not serve.)
now() {
	cut -f 1 /proc/sys/kernel/printk
}
level() {
	equals "$1" "$(now)"
}
before=$(now)

load_lp "$KO_selftest_state_v1"
check "the log level is raised" level 15
disable_lp "$KO_selftest_state_v1"
check "it is as before" level "$before"
unload_lp "$KO_selftest_state_v1"
