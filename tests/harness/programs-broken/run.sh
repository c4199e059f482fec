# SPDX-License-Identifier: GPL-2.0-or-later
. /lib/case.sh
check "this is not reached" true
