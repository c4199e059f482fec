// SPDX-License-Identifier: GPL-2.0-only
//! Exit hook: a fix unregisters its kernel objects when its module is removed.
//!
//! After an atomic replace, no callback of the replaced patch runs ([`Documentation/livepatch/callbacks.rst`],
//! "Limitations"). Without an exit hook, kernel objects that point into the module (a file of /proc or sysfs, a
//! timer, work, a notifier) would be used after the module was freed.
//!
//! C header: [`include/linux/module.h`] (`module_exit`)
//!
//! [`Documentation/livepatch/callbacks.rst`]: srctree/Documentation/livepatch/callbacks.rst
//! [`include/linux/module.h`]: srctree/include/linux/module.h

/// Exit hook of a fix. Requires `exit = true` in `patch.toml`.
///
/// # Examples
/// ```ignore
/// impl Exit for Patch {
///     fn exit() {
///         // SAFETY: FILE is the file of `pre_patch`, or null, which proc_remove() ignores. Only this code removes it.
///         unsafe { proc_remove(FILE.swap(null_mut(), Ordering::Relaxed)) };
///     }
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` has no end hook, which `exit` of patch.toml names",
    note = "write `impl klp::core::exit::Exit for {Self} {{ fn exit() {{ ... }} }}`, or take `exit` out of patch.toml"
)]
pub trait Exit {
    /// Runs once, when the module is removed (`rmmod`, `kpatch unload`): the patch is disabled or replaced, and no
    /// task runs its functions. May sleep. On return, no kernel object may point into the module, and no function of
    /// the module may run: cancel timers and work with the `_sync` functions.
    ///
    /// Runs also after `post_unpatch`: objects that `post_unpatch` unregistered are already gone. Does not run if the
    /// module load failed; in that case `post_unpatch` runs, if `pre_patch` succeeded. Fixes of one module exit in
    /// reverse order.
    fn exit();
}
