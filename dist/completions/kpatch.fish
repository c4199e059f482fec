# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_kpatch_global_optspecs
    string join \n root= h/help
end

function __fish_kpatch_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_kpatch_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_kpatch_using_subcommand
    set -l cmd (__fish_kpatch_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c kpatch -n "__fish_kpatch_needs_command" -l root -d 'Work on the files below this directory; modules cannot be loaded there' -r -F
complete -c kpatch -n "__fish_kpatch_needs_command" -s h -l help -d 'Print help'
complete -c kpatch -n "__fish_kpatch_needs_command" -f -a "load" -d 'Load a patch module into the running kernel and wait until it is in effect'
complete -c kpatch -n "__fish_kpatch_needs_command" -f -a "unload" -d 'Revert a patch and take its module out of the running kernel'
complete -c kpatch -n "__fish_kpatch_needs_command" -f -a "install" -d 'Install a patch module, to be loaded at boot. The running kernel stays as it is'
complete -c kpatch -n "__fish_kpatch_needs_command" -f -a "uninstall" -d 'Take a patch module out of what is loaded at boot. The running kernel stays as it is'
complete -c kpatch -n "__fish_kpatch_needs_command" -f -a "rollback" -d 'Go back to the version before the newest one that is installed for the running kernel'
complete -c kpatch -n "__fish_kpatch_needs_command" -f -a "list" -d 'List loaded and installed patch modules'
complete -c kpatch -n "__fish_kpatch_needs_command" -f -a "status" -d 'Show kernel, patches, transition, what is fixed and what the next boot will do'
complete -c kpatch -n "__fish_kpatch_needs_command" -f -a "info" -d 'Show the information in a patch module'
complete -c kpatch -n "__fish_kpatch_needs_command" -f -a "check" -d 'Say whether a patch module can be loaded into the running kernel, as far as that can be known before'
complete -c kpatch -n "__fish_kpatch_needs_command" -f -a "history" -d 'Show what was changed on this machine'
complete -c kpatch -n "__fish_kpatch_needs_command" -f -a "export" -d 'Say what is fixed, for scanners and monitors'
complete -c kpatch -n "__fish_kpatch_needs_command" -f -a "follow" -d 'Print the live patch packages that this machine should have, one per line, for the plug-ins of package managers'
complete -c kpatch -n "__fish_kpatch_needs_command" -f -a "uname" -d 'Print the version that the running kernel amounts to with its patches, for scanners that read uname -r'
complete -c kpatch -n "__fish_kpatch_needs_command" -f -a "signal" -d 'Poke the tasks that hold a transition up'
complete -c kpatch -n "__fish_kpatch_needs_command" -f -a "force" -d 'End a transition for all tasks at once. They may crash, and the patch can never be removed'
complete -c kpatch -n "__fish_kpatch_needs_command" -f -a "confirm" -d 'Trust the patches that are loaded: a crash from now on no longer keeps them from being loaded at boot. A patch in which the kernel has reported a bug since the load is not trusted'
complete -c kpatch -n "__fish_kpatch_needs_command" -f -a "version" -d 'Show the version of this command'
complete -c kpatch -n "__fish_kpatch_needs_command" -f -a "help" -d 'Show the commands'
complete -c kpatch -n "__fish_kpatch_using_subcommand load" -l root -d 'Work on the files below this directory; modules cannot be loaded there' -r -F
complete -c kpatch -n "__fish_kpatch_using_subcommand load" -l on-stall -d 'What to do when the transition stalls: load reverses, unload fails where nothing is given' -r -f -a "wait\t'Go on waiting, and report every minute'
reverse\t'Turn it round and wait for that'
fail\t'Give up and leave it to the kernel, which goes on with it'"
complete -c kpatch -n "__fish_kpatch_using_subcommand load" -l deadline -d 'Seconds until it has stalled (75); with --on-stall wait seconds until waiting ends (never)' -r
complete -c kpatch -n "__fish_kpatch_using_subcommand load" -l no-check -d 'Skip our own checks; the kernel still refuses what it cannot load'
complete -c kpatch -n "__fish_kpatch_using_subcommand load" -l allow-older -d 'Load it although a newer version of its line is enabled'
complete -c kpatch -n "__fish_kpatch_using_subcommand load" -l all -d 'All of them'
complete -c kpatch -n "__fish_kpatch_using_subcommand load" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c kpatch -n "__fish_kpatch_using_subcommand unload" -l root -d 'Work on the files below this directory; modules cannot be loaded there' -r -F
complete -c kpatch -n "__fish_kpatch_using_subcommand unload" -l on-stall -d 'What to do when the transition stalls: load reverses, unload fails where nothing is given' -r -f -a "wait\t'Go on waiting, and report every minute'
reverse\t'Turn it round and wait for that'
fail\t'Give up and leave it to the kernel, which goes on with it'"
complete -c kpatch -n "__fish_kpatch_using_subcommand unload" -l deadline -d 'Seconds until it has stalled (75); with --on-stall wait seconds until waiting ends (never)' -r
complete -c kpatch -n "__fish_kpatch_using_subcommand unload" -l all -d 'All of them'
complete -c kpatch -n "__fish_kpatch_using_subcommand unload" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c kpatch -n "__fish_kpatch_using_subcommand install" -l root -d 'Work on the files below this directory; modules cannot be loaded there' -r -F
complete -c kpatch -n "__fish_kpatch_using_subcommand install" -s k -l kernel-version -d 'The kernel that it is for; the running one where none is given' -r
complete -c kpatch -n "__fish_kpatch_using_subcommand install" -l no-enable -d 'Leave kpatch.service as it is. For package scripts, which enable it by the distribution\'s presets'
complete -c kpatch -n "__fish_kpatch_using_subcommand install" -s h -l help -d 'Print help'
complete -c kpatch -n "__fish_kpatch_using_subcommand uninstall" -l root -d 'Work on the files below this directory; modules cannot be loaded there' -r -F
complete -c kpatch -n "__fish_kpatch_using_subcommand uninstall" -s k -l kernel-version -d 'The kernel that it is for; the running one where none is given' -r
complete -c kpatch -n "__fish_kpatch_using_subcommand uninstall" -l keep -d 'Keep it for rollback, as when a newer version is there'
complete -c kpatch -n "__fish_kpatch_using_subcommand uninstall" -l prune -d 'Take out the modules of all kernels that are no longer on this machine'
complete -c kpatch -n "__fish_kpatch_using_subcommand uninstall" -l dry-run -d 'With --prune: only say which'
complete -c kpatch -n "__fish_kpatch_using_subcommand uninstall" -s h -l help -d 'Print help'
complete -c kpatch -n "__fish_kpatch_using_subcommand rollback" -l root -d 'Work on the files below this directory; modules cannot be loaded there' -r -F
complete -c kpatch -n "__fish_kpatch_using_subcommand rollback" -l on-stall -d 'What to do when the transition stalls: load reverses, unload fails where nothing is given' -r -f -a "wait\t'Go on waiting, and report every minute'
reverse\t'Turn it round and wait for that'
fail\t'Give up and leave it to the kernel, which goes on with it'"
complete -c kpatch -n "__fish_kpatch_using_subcommand rollback" -l deadline -d 'Seconds until it has stalled (75); with --on-stall wait seconds until waiting ends (never)' -r
complete -c kpatch -n "__fish_kpatch_using_subcommand rollback" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c kpatch -n "__fish_kpatch_using_subcommand list" -l root -d 'Work on the files below this directory; modules cannot be loaded there' -r -F
complete -c kpatch -n "__fish_kpatch_using_subcommand list" -l json -d 'Answer in JSON, for programs; docs/schemas describes it'
complete -c kpatch -n "__fish_kpatch_using_subcommand list" -s h -l help -d 'Print help'
complete -c kpatch -n "__fish_kpatch_using_subcommand status" -l root -d 'Work on the files below this directory; modules cannot be loaded there' -r -F
complete -c kpatch -n "__fish_kpatch_using_subcommand status" -l json -d 'Answer in JSON, for programs; docs/schemas describes it'
complete -c kpatch -n "__fish_kpatch_using_subcommand status" -l check -d 'One line for monitors, and an exit code'
complete -c kpatch -n "__fish_kpatch_using_subcommand status" -s h -l help -d 'Print help'
complete -c kpatch -n "__fish_kpatch_using_subcommand info" -l root -d 'Work on the files below this directory; modules cannot be loaded there' -r -F
complete -c kpatch -n "__fish_kpatch_using_subcommand info" -l json -d 'Answer in JSON, for programs; docs/schemas describes it'
complete -c kpatch -n "__fish_kpatch_using_subcommand info" -s h -l help -d 'Print help'
complete -c kpatch -n "__fish_kpatch_using_subcommand check" -l root -d 'Work on the files below this directory; modules cannot be loaded there' -r -F
complete -c kpatch -n "__fish_kpatch_using_subcommand check" -l json -d 'Answer in JSON, for programs; docs/schemas describes it'
complete -c kpatch -n "__fish_kpatch_using_subcommand check" -s h -l help -d 'Print help'
complete -c kpatch -n "__fish_kpatch_using_subcommand history" -l root -d 'Work on the files below this directory; modules cannot be loaded there' -r -F
complete -c kpatch -n "__fish_kpatch_using_subcommand history" -l json -d 'Answer in JSON, for programs; docs/schemas describes it'
complete -c kpatch -n "__fish_kpatch_using_subcommand history" -s h -l help -d 'Print help'
complete -c kpatch -n "__fish_kpatch_using_subcommand export" -l root -d 'Work on the files below this directory; modules cannot be loaded there' -r -F
complete -c kpatch -n "__fish_kpatch_using_subcommand export" -l format -d 'Format of the document' -r -f -a "openvex\t'OpenVEX 0.2.0, a JSON document'
openmetrics\t'OpenMetrics 1.0, as the text-file collector of node_exporter reads it'"
complete -c kpatch -n "__fish_kpatch_using_subcommand export" -l output -d 'Replace this file instead of printing' -r -F
complete -c kpatch -n "__fish_kpatch_using_subcommand export" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c kpatch -n "__fish_kpatch_using_subcommand follow" -l root -d 'Work on the files below this directory; modules cannot be loaded there' -r -F
complete -c kpatch -n "__fish_kpatch_using_subcommand follow" -l packages -d 'Kind of packages; by the machine\'s package database where none is given' -r -f -a "rpm\t'Names of RPM packages'
deb\t'Names of DEB packages'"
complete -c kpatch -n "__fish_kpatch_using_subcommand follow" -l config -d 'Configuration; /etc/dnf/plugins/kpatch.conf or /etc/apt/kpatch.conf where none is given' -r -F
complete -c kpatch -n "__fish_kpatch_using_subcommand follow" -l kernel -d 'Kernel release to decide about, may be repeated; the installed kernels where none is given' -r
complete -c kpatch -n "__fish_kpatch_using_subcommand follow" -l offered -d 'Package that a repository offers, may be repeated; without it every package counts as offered' -r
complete -c kpatch -n "__fish_kpatch_using_subcommand follow" -l json -d 'Answer in JSON, for programs; docs/schemas describes it'
complete -c kpatch -n "__fish_kpatch_using_subcommand follow" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c kpatch -n "__fish_kpatch_using_subcommand uname" -l root -d 'Work on the files below this directory; modules cannot be loaded there' -r -F
complete -c kpatch -n "__fish_kpatch_using_subcommand uname" -l json -d 'Answer in JSON, for programs; docs/schemas describes it'
complete -c kpatch -n "__fish_kpatch_using_subcommand uname" -s h -l help -d 'Print help'
complete -c kpatch -n "__fish_kpatch_using_subcommand signal" -l root -d 'Work on the files below this directory; modules cannot be loaded there' -r -F
complete -c kpatch -n "__fish_kpatch_using_subcommand signal" -s h -l help -d 'Print help'
complete -c kpatch -n "__fish_kpatch_using_subcommand force" -l root -d 'Work on the files below this directory; modules cannot be loaded there' -r -F
complete -c kpatch -n "__fish_kpatch_using_subcommand force" -l it-can-never-be-unloaded -d 'Required acknowledgement; without it force refuses to run'
complete -c kpatch -n "__fish_kpatch_using_subcommand force" -s h -l help -d 'Print help'
complete -c kpatch -n "__fish_kpatch_using_subcommand confirm" -l root -d 'Work on the files below this directory; modules cannot be loaded there' -r -F
complete -c kpatch -n "__fish_kpatch_using_subcommand confirm" -l settle -d 'Wait until each has been loaded for so many seconds; a signal to end confirms at once' -r
complete -c kpatch -n "__fish_kpatch_using_subcommand confirm" -l clear-bugs -d 'Forget recorded bugs too, and look for no others: the next boot loads these patches again'
complete -c kpatch -n "__fish_kpatch_using_subcommand confirm" -s h -l help -d 'Print help'
complete -c kpatch -n "__fish_kpatch_using_subcommand version" -l root -d 'Work on the files below this directory; modules cannot be loaded there' -r -F
complete -c kpatch -n "__fish_kpatch_using_subcommand version" -s h -l help -d 'Print help'
complete -c kpatch -n "__fish_kpatch_using_subcommand help" -l root -d 'Work on the files below this directory; modules cannot be loaded there' -r -F
complete -c kpatch -n "__fish_kpatch_using_subcommand help" -s h -l help -d 'Print help'
