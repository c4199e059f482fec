# %postun of a live patch package. It unloads nothing. After a reinstallation of the same version the file is still there,
# and the module stays installed. It also stays after an upgrade ($1 is 1) whose module could not be installed.
if [ ! -e "$file" ] && [ -e "$installed" ]; then
    if [ "${1:-0}" -ne 0 ] && other_is_not_installed; then
        echo "WARNING: $module stays installed, because the new module is not." >&2
    else
        kpatch uninstall -k "$kernel" "$module"
    fi
fi
exit 0
