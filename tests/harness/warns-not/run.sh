# SPDX-License-Identifier: GPL-2.0-or-later
. /lib/case.sh
check "this holds" true
