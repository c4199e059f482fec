# SPDX-License-Identifier: GPL-2.0-or-later
# What every run.sh sources. busybox sh, in the guest. Variables of a case: ARCH, CASE, KERNEL (its id), RELEASE,
# EVIDENCE (directory that goes to the host), COLLECT, and KO_<artifact> for each artifact.
#
# The host reads these lines of a case's output: `ok - <claim>`, `not ok - <claim>` and the `# ` lines after it, and
# `# phase <name>`. The rest of the output is for people.
set -u

_seen=/tmp/seen.$$
PHASE=start
# The script's own output, also where a check redirects it.
exec 9>&1

# _broken <text>: the script cannot show what it is to show. Said as a claim that does not hold, and the end.
_broken() {
	echo "not ok - $1" >&9
	exit 1
}

# check "<claim>" <command...>: the claim holds when the command succeeds. What it printed is shown when it does not.
# Returns as the command did, so that `check ... || exit` ends a case that has nothing left to show.
check() {
	_claim=$1
	shift
	"$@" >"$_seen" 2>&1
	_status=$?
	if [ $_status = 0 ]; then
		echo "ok - $_claim"
	else
		echo "not ok - $_claim"
		echo "# \`$*\` ended with $_status"
		head -c 4000 "$_seen" | sed 's/^/# /'
	fi
	return $_status
}

# phase <name>: a new part of the case begins. Each file that case.toml's `collect` names is copied once, to be looked
# at from then on: files of tracefs are expensive to read.
phase() {
	PHASE=$1
	echo "# phase $PHASE"
	for _file in $COLLECT; do
		[ -e "$_file" ] || continue
		_keep "$PHASE$_file" "$_file"
	done
}

# _keep <name> <file>: a copy in the evidence. `keep` and `phase` share it, so that one name cannot be both a file of the
# one and a directory of the other.
_keep() {
	_to=$EVIDENCE/$1
	_why=$({ mkdir -p "${_to%/*}" && cat "$2" >"$_to"; } 2>&1) ||
		_broken "$2 cannot be kept as evidence \`$1\` (each phase and each kept file needs a name of its own): $_why"
}

# collected <file>: where this phase's copy of a collected file stands.
collected() {
	echo "$EVIDENCE/$PHASE$1"
}

# keep <name> <file>: copies a file to the evidence.
keep() {
	_keep "$1" "$2"
}

# prints <name> <command...>: keeps what the command prints in the evidence; ends as the command does.
prints() {
	mkdir -p "$EVIDENCE"
	_kept=$EVIDENCE/$1
	true >"$_kept" || _broken "evidence \`$1\` cannot be written: each phase and each kept file needs a name of its own"
	shift
	"$@" >"$_kept" 2>&1
	_status=$?
	cat "$_kept"
	return $_status
}

# contains <text> <file>: the file holds the text.
contains() {
	grep -qF -e "$1" "$2" && return
	echo "no \`$1\` in $2, which holds:"
	cat "$2"
	return 1
}

# lacks <text> <file>: the file can be read and does not hold the text.
lacks() {
	grep -F -e "$1" "$2"
	case $? in
	0) return 1 ;;
	1) return 0 ;;
	*) return 2 ;;
	esac
}

# equals <expected> <actual>: two texts are the same.
equals() {
	[ "$1" = "$2" ] && return
	echo "expected \`$1\`, seen \`$2\`"
	return 1
}

# reads <text> <file>: the file holds this text and a line break, byte for byte, and nothing else.
reads() {
	echo "$1" >"$_seen.expected"
	same "$_seen.expected" "$2"
}

# same <file> <file>: the same bytes. Each is read once: files of /proc may change between two looks.
same() {
	cat "$1" >"$_seen.one" && cat "$2" >"$_seen.two" || return
	cmp -s "$_seen.one" "$_seen.two" && return
	echo "$1 holds:"
	cat "$_seen.one"
	echo "$2 holds:"
	cat "$_seen.two"
	return 1
}

# fails <command...>: the command runs, does not succeed, and has done its work to the end. Commands that answer no with 1
# and say with more that they could not tell (grep of a file that is not there) must answer no.
fails() {
	"$@"
	_status=$?
	case $_status in
	0) echo "\`$*\` succeeded"; return 1 ;;
	1) return 0 ;;
	126 | 127) echo "\`$*\` could not be run"; return 1 ;;
	# SIGILL, SIGTRAP, SIGABRT, SIGBUS, SIGFPE, SIGKILL, SIGSEGV.
	13[2-7] | 139) echo "\`$*\` was ended by signal $((_status - 128))"; return 1 ;;
	esac
	case ${1##*/} in
	grep | egrep | fgrep | zgrep | cmp | diff | test | [ | awk | sed | sort | find | ls | systemctl)
		echo "\`$*\` ended with $_status: it could not tell, which is another failure than the one that is claimed"
		return 1
		;;
	esac
}

# fails_with <code> <command...>: the command ends with this exit code, which is not 0.
fails_with() {
	_code=$1
	shift
	[ "$_code" -gt 0 ] || _broken "fails_with $_code: a failure has another code than 0"
	"$@"
	equals "$_code" $?
}

# ends <code> <name> <command...>: the command ends with this exit code; what it prints is evidence of this name.
ends() {
	_code=$1
	_name=$2
	shift 2
	prints "$_name" "$@"
	equals "$_code" $?
}

# absent <path>: there is no such file or directory.
absent() {
	[ ! -e "$1" ] && return
	echo "$1 is there"
	return 1
}

# wait_until <seconds> <command...>: asks again every 20 ms until the command succeeds; its last words when it does not.
# Counted are the questions, not the time of a clock: on a host that gives the guest little CPU each takes longer.
wait_until() {
	_left=$(($1 * 50))
	shift
	until "$@" >"$_seen.wait" 2>&1; do
		if [ $_left = 0 ]; then
			cat "$_seen.wait"
			return 1
		fi
		_left=$((_left - 1))
		usleep 20000
	done
}

# gone <pid>: the process has ended.
gone() {
	[ ! -d "/proc/$1" ]
}

# module_of <file>: the name that the kernel will give to a module file.
module_of() {
	_name=${1##*/}
	_name=${_name%.ko}
	echo "${_name//-/_}"
}

# load_module <file> [parameter...]: loads a module of `artifacts` after those that it needs. One that is there already stays.
load_module() {
	_file=$1
	_by=$(module_of "$_file")
	true >"/tmp/loaded.$_by"
	if [ -e "$_file.needs" ]; then
		while read -r _need; do
			[ -d "/sys/module/$(module_of "$_need")" ] && continue
			insmod "$_need" || { remove_needs "$_by"; return 1; }
			module_of "$_need" >>"/tmp/loaded.$_by"
		done <"$_file.needs"
	fi
	shift
	insmod "$_file" "$@" || { remove_needs "$_by"; return 1; }
}

# remove_module <file or name>: removes a module, and those that load_module loaded for it.
remove_module() {
	_by=$(module_of "$1")
	rmmod "$_by" && remove_needs "$_by"
}

# remove_needs <module>: removes what load_module loaded for it, in the reverse order.
remove_needs() {
	for _need in $(sed '1!G;h;$!d' "/tmp/loaded.$1"); do
		rmmod "$_need" || return
	done
	rm "/tmp/loaded.$1"
}

# kernel_log_mark: what the kernel logs from now on is what kernel_log_since prints.
_mark=0
kernel_log_mark() {
	_mark=$((_mark + 1))
	echo "case $CASE mark $_mark" >/dev/kmsg
}
kernel_log_since() {
	dmesg | sed "1,/case $CASE mark $_mark\$/d"
}
