# Start of each script of a live patch package. The packager fills in kernel, stream and module.
kernel='@KERNEL@'
stream='@STREAM@'
module='@MODULE@'
file="/usr/lib/kpatch/$kernel/$module.ko"
store="/var/lib/kpatch/$kernel"
installed="$store/$module.ko"

# Version and release of a module of this stream; nothing for other modules.
version_in_stream() {
    case "$1" in
        "$stream"_*) ;;
        *) return 1 ;;
    esac
    case "${1#"$stream"_}" in
        *[!0-9_]*) return 1 ;;
    esac
}

# Label of kernel modules; SELinux policies refuse to insert a module with another label.
label() {
    if command -v selinuxenabled >/dev/null 2>&1 && selinuxenabled; then
        chcon -t modules_object_t "$file" "$installed" || true
    fi
}

# True on the machine itself; false in a chroot, for example of an image build, where the running kernel is not the
# kernel of this root.
on_this_machine() {
    [ "$(stat -L -c %d:%i /proc/1/root 2>/dev/null)" = "$(stat -L -c %d:%i /)" ]
}

# Modules of this stream that are enabled in the running kernel.
enabled_in_stream() {
    for state in /sys/kernel/livepatch/*/enabled; do
        name="${state%/enabled}"
        name="${name##*/}"
        if version_in_stream "$name" && [ "$(cat "$state" 2>/dev/null)" = 1 ]; then
            echo "$name"
        fi
    done
}

# Removes the other modules of the stream from the store, except those of a file that a package has.
uninstall_others() {
    for path in "$store/$stream"_*.ko; do
        name="${path##*/}"
        name="${name%.ko}"
        if [ "$name" != "$module" ] && [ -e "$path" ] && version_in_stream "$name" \
            && [ ! -e "/usr/lib/kpatch/$kernel/$name.ko" ]; then
            kpatch uninstall -k "$kernel" "$name"
        fi
    done
}

# True if a package has another module of this stream, which is not in the store.
other_is_not_installed() {
    for path in "/usr/lib/kpatch/$kernel/$stream"_*.ko; do
        name="${path##*/}"
        name="${name%.ko}"
        if [ "$name" != "$module" ] && [ -e "$path" ] && version_in_stream "$name" && [ ! -e "$store/$name.ko" ]; then
            return 0
        fi
    done
    return 1
}

# Loads the installed module into the running kernel if the module is for this kernel, and not over a newer one.
load_into_running_kernel() {
    if [ "$(uname -r)" != "$kernel" ] || ! on_this_machine; then
        return 0
    fi
    newest="$({ echo "$module"; enabled_in_stream; } | sort -V | tail -n 1)"
    if [ "$newest" != "$module" ]; then
        echo "WARNING: $module is installed but not loaded: the newer live patch $newest is loaded." >&2
        echo "WARNING: a reboot is needed to go back to $module." >&2
        return 0
    fi
    if ! kpatch load "$installed"; then
        echo "WARNING: $module is installed but not loaded; \`kpatch check $module\` shows the reason." >&2
    fi
}
