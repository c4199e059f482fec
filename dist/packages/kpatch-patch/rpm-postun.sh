# %postun of a live patch package. It unloads nothing. After a reinstallation of the same version the file is still there,
# and the module stays installed.
if [ ! -e "$file" ] && [ -e "$installed" ]; then
    kpatch uninstall -k "$kernel" "$module"
fi
exit 0
