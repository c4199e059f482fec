# SPDX-License-Identifier: GPL-2.0-or-later
. /lib/case.sh
check "the program runs" ends 7 answer ./answer
check "it speaks with the guest's kernel" reads "$RELEASE" "$EVIDENCE/answer"
check "another end is a failure" ./answer
