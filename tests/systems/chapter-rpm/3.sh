# SPDX-License-Identifier: GPL-2.0-or-later
. /lib/case.sh
. /lib/yum.sh
. /lib/chapter.sh
boot_3
