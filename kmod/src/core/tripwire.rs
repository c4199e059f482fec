// SPDX-License-Identifier: GPL-2.0-only
//! Tripwires: a fix counts and logs that somebody tried what it no longer allows.
//!
//! `patch.toml` names each tripwire with the path that it guards. The counter is a read-only module parameter; the
//! function behind the macro is in the module's C part, which has the kernel's rate limit
//! ([`include/linux/ratelimit.h`]: ten lines in five seconds for each tripwire).
//!
//! [`include/linux/ratelimit.h`]: srctree/include/linux/ratelimit.h

/// Counts that the path of a tripwire was tried, and logs task and pid, rate limited. May be used in any context
/// in which `printk()` may. In an interrupt the task is the one that was interrupted.
///
/// # Examples
/// ```ignore
/// // patch.toml: tripwires = [{ name = "bad_mode", description = "open of a pipe without read or write access" }]
/// if is_bad {
///     klp::core::tripwire!(bad_mode);
///     return Errno::new(EPERM).to_ret();
/// }
/// ```
#[macro_export]
macro_rules! tripwire {
    ($name:ident) => {
        ::replaced::tripwires::$name()
    };
}
