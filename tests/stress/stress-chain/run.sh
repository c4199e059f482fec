# SPDX-License-Identifier: GPL-2.0-or-later
CYCLES=48
. /lib/stress.sh

# version <number>: its file.
version() {
	eval "echo \"\$KO_version_${1}_chain\""
}

# upgrade <number>: that version takes the place of the one before it, which is removed.
upgrade() {
	_new=$(module_of "$(version $1)")
	_old=$(module_of "$(version $(($1 - 1)))")
	insmod "$(version $1)" && wait_until 60 settled $_new && wait_until 60 absent $PATCHES/$_old &&
		rmmod $_old && attribute $_new enabled 1 && contains "stress: read " /proc/version
}
from_third() {
	upgrade $(($1 + 2))
}

keep version /proc/version
insmod "$(version 1)"
first=$(module_of "$(version 1)")
check "version 1 is loaded" wait_until 60 settled $first || exit
load_begins
# The first upgrade fills caches.
check "version 2 replaces version 1" upgrade 2 || exit
memory before
check "versions 3 to 50 replace one another" repeated from_third
last=$(module_of "$(version 50)")
check "version 50 alone is there" equals $last "$(ls $PATCHES)"
load_saw
check "every number was the next one" equals 2 "$(sed -n 's/ the first number//p' $EVIDENCE/reads)"
check "a file that was open all the time was never without its number" lacks "no number" $EVIDENCE/reads
memory_is_steady
echo 0 >$PATCHES/$last/enabled
check "version 50 is disabled" wait_until 60 absent $PATCHES/$last
check "it is removed" rmmod $last
check "the original is back" same "$EVIDENCE/version" /proc/version
