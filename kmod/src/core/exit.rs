// SPDX-License-Identifier: GPL-2.0-only
//! The end hook: a fix takes back what it registered with the kernel, when its module is removed.
//!
//! A patch that was replaced by another one sees none of its callbacks any more (`Documentation/livepatch/callbacks.rst`,
//! "Limitations"). What it registered with the kernel and what points into its module (a file of /proc or sysfs, a timer, work, a
//! notifier) would then be used after the module was freed.
//!
//! C header: `include/linux/module.h` (`module_exit`)

/// The end of a fix. `patch.toml` says `exit = true`.
///
/// ```ignore
/// impl Exit for Patch {
///     fn exit() {
///         // SAFETY: `pre_patch` made the file, or left null there, which proc_remove() ignores.
///         unsafe { proc_remove(FILE.swap(null_mut(), Ordering::Relaxed)) };
///     }
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` has no end hook, which `exit` of patch.toml names",
    note = "write `impl klp::core::exit::Exit for {Self} {{ fn exit() {{ ... }} }}`, or take `exit` out of patch.toml"
)]
pub trait Exit {
    /// Runs once, when the module is removed (`rmmod`, `kpatch unload`): after the patch was disabled or replaced, when no task
    /// runs its functions any more. It may sleep. It must return only when nothing of the kernel points into the module any more,
    /// and no function of the module runs: cancel timers and work with the `_sync` functions.
    ///
    /// It runs after `post_unpatch` too, where that ran: what was taken back there is not there any more. It does not run when
    /// the module could not be loaded; then `post_unpatch` does, if `pre_patch` succeeded. The module's fixes end in the
    /// reverse of their order.
    fn exit();
}
