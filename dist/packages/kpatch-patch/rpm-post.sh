# %post of a live patch package. On an upgrade it runs before %postun of the old version, so both versions are installed
# for a moment; a boot loads the newest.
if kpatch install -k "$kernel" "$file"; then
    label
    load_into_running_kernel
else
    echo "WARNING: $module could not be installed: nothing is loaded, now and at the next boot." >&2
    echo "WARNING: to try again: kpatch install -k $kernel $file" >&2
fi
exit 0
