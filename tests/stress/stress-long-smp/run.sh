# SPDX-License-Identifier: GPL-2.0-or-later
CYCLES=50
. /lib/stress-cycles.sh
