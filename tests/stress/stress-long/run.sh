# SPDX-License-Identifier: GPL-2.0-or-later
CYCLES=1000
. /lib/stress-cycles.sh
