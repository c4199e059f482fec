# SPDX-License-Identifier: GPL-2.0-or-later
. /lib/case.sh
check "something before" true
# What is printed at the very moment of a panic may be lost; this is not about that. Several times: on a host that gives the
# guest little CPU one sleep may be over before anybody else has run.
for turn in 1 2 3 4 5; do
	usleep 60000
done
echo c >/proc/sysrq-trigger
