# SPDX-License-Identifier: GPL-2.0-or-later
. /lib/case.sh
check "a file lacks a word" fails grep -q word /proc/version
check "a file that is not there lacks a word" fails grep -q word /nonesuch
check "files that are not there differ" fails cmp -s /nonesuch /nonesuch2
check "a command that is not there fails" fails /nonesuch
check "a command that is killed fails" fails sh -c 'kill -SEGV $$'
check "a command fails with 3" fails_with 3 sh -c 'exit 3'
check "a command fails with 4" fails_with 4 sh -c 'exit 3'
true
