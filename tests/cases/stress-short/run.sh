# SPDX-License-Identifier: GPL-2.0-or-later
CYCLES=20
. /lib/stress-cycles.sh
