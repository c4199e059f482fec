# SPDX-License-Identifier: GPL-2.0-or-later
. /lib/case.sh
phase before
check "this is not reached" prints before true
true
