# SPDX-License-Identifier: GPL-2.0-or-later
REST=0
. /lib/halves.sh
