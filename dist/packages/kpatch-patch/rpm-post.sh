# %post of a live patch package. On an upgrade it runs before %postun of the old version, so both versions are installed
# for a moment; a boot loads the newest. A module that an interrupted upgrade left behind is removed.
# rpm does not flush the files of a package, and takes them for installed after a power cut.
if command -v sync >/dev/null; then
    sync "$file" || true
fi
if kpatch install -k "$kernel" "$file"; then
    uninstall_others
    label
    load_into_running_kernel
else
    echo "WARNING: $module could not be installed: the next boot loads what is installed now." >&2
    echo "WARNING: to try again: reinstall the package (dnf reinstall)." >&2
fi
exit 0
