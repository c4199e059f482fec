# SPDX-License-Identifier: GPL-2.0-or-later
. /lib/case.sh
i=0
while [ $i -lt 60000 ]; do
	i=$((i + 1))
done
check "the work is done" equals 60000 $i
