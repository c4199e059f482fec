# SPDX-License-Identifier: GPL-2.0-or-later
. /lib/case.sh
check "something before" true
# What is printed at the very moment of a panic may be lost; this is not about that.
usleep 300000
echo c >/proc/sysrq-trigger
