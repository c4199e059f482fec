# SPDX-License-Identifier: GPL-2.0-or-later
# A task that sleeps in the replacement of fix `sleeper` until it is told to go on, after case.sh: what a case looks at
# meanwhile may take as long as it takes.

# sleeping <pid>: the task is inside the replacement, asleep.
sleeping() {
	grep -q msleep "/proc/$1/stack"
}

# reader_sleeps: a reader of /proc/cmdline is asleep in the replacement; its number is $reader.
reader_sleeps() {
	sh -c 'echo 1 >/proc/self/oom_score_adj && exec cat /proc/cmdline' >/tmp/slept &
	reader=$!
	wait_until 20 sleeping $reader
}

# reader_goes_on: it leaves the replacement, and ends.
reader_goes_on() {
	echo 0 >"/proc/$reader/oom_score_adj" && wait $reader
}
