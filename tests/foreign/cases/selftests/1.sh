# SPDX-License-Identifier: GPL-2.0-or-later
# Runs each script of each suite in /suites. The host reads the names of the claims as rows of docs/selftests.md.
. /lib/case.sh

# The scripts ask for the directory before they run; nothing is compiled here.
mkdir -p "/lib/modules/$RELEASE/build"

# ours: every live patch of this suite has our manifest, and there is one at least.
ours() {
	_count=0
	for _module in test_modules/*.ko; do
		[ "$(modinfo -F livepatch "$_module")" = Y ] || continue
		_count=$((_count + 1))
		[ -n "$(modinfo -F ferrograft "$_module")" ] || { echo "$_module is none of ours"; return 1; }
	done
	[ $_count -gt 0 ]
}

# passed: the last script ended with success, and so did every scenario that it began.
passed() {
	cat "$output"
	[ "$status" = 0 ] && [ "$ok" -gt 0 ] && [ "$ok" = "$begun" ]
}

for suite in /suites/*; do
	version=${suite##*/}
	cd "$suite/livepatch" || exit 1
	check "the live patches of $version are ours" ours || exit 1
	for script in test-*.sh; do
		# Of the claims below, these are the names that the host reads.
		reason=$(sed -n "s/^$KERNEL $version $script: //p" /case/left-out)
		if [ -n "$reason" ]; then
			check "$version $script is left out: $reason" true
			continue
		fi
		output=/tmp/$version-$script.out
		bash "./$script" >"$output" 2>&1
		status=$?
		ok=$(grep -c '^TEST: .* \.\.\. ok$' "$output")
		begun=$(grep -c '^TEST: ' "$output")
		if [ $status = 4 ]; then
			check "$version $script is left out: $(sed -n 's/^SKIP: //p' "$output")" true
			continue
		fi
		check "$version $script passes, $ok scenarios" passed
	done
done

dmesg | grep -E 'WARNING:|BUG:|Oops|Call Trace' >/tmp/complaints
check "the kernel complained of nothing" same /dev/null /tmp/complaints
