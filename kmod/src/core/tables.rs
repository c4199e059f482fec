// SPDX-License-Identifier: GPL-2.0-only
//! Tables of the livepatch core as constants; all content is known at compile time.
//!
//! C header: [`include/linux/livepatch.h`]
//!
//! [`include/linux/livepatch.h`]: srctree/include/linux/livepatch.h

use ::core::ffi::CStr;
use ::core::mem::zeroed;
use ::core::ptr::null;

use bindings::ffi::{c_int, c_ulong, c_void};
use bindings::{klp_callbacks, klp_func, klp_object, klp_patch, klp_state, module};

/// Function entry: `new_func` replaces `old_name`. `position` is the symbol position: 0 if the name is unique in the
/// object, else the index from 1 in the order of kallsyms.
///
/// # Safety
/// `new_func` is a function with the prototype of the function that it replaces.
pub const unsafe fn func(old_name: &'static CStr, position: c_ulong, new_func: *const c_void) -> klp_func {
    // SAFETY: all zeroes is a valid `klp_func`; `klp_enable_patch()` initialises its internal members.
    let mut func: klp_func = unsafe { zeroed() };
    func.old_name = old_name.as_ptr().cast();
    func.new_func = new_func.cast_mut();
    func.old_sympos = position;
    func
}

/// Entry that ends a list of functions.
pub const fn end_of_funcs() -> klp_func {
    // SAFETY: all zeroes is a valid `klp_func`; a null `old_name` ends a list.
    unsafe { zeroed() }
}

/// Object entry: `name` is the name of a module, or `None` for vmlinux.
///
/// # Safety
/// `funcs` points to a list that ends with [`end_of_funcs`] and lives as long as the module.
pub const unsafe fn object(
    name: Option<&'static CStr>,
    callbacks: klp_callbacks,
    funcs: *mut klp_func,
) -> klp_object {
    // SAFETY: all zeroes is a valid `klp_object`; `klp_enable_patch()` initialises its internal members.
    let mut object: klp_object = unsafe { zeroed() };
    object.name = match name {
        Some(name) => name.as_ptr().cast(),
        None => null(),
    };
    object.callbacks = callbacks;
    object.funcs = funcs;
    object
}

/// Entry that ends a list of objects.
pub const fn end_of_objects() -> klp_object {
    // SAFETY: all zeroes is a valid `klp_object`; a null `funcs` ends a list.
    unsafe { zeroed() }
}

/// Callback entry without callbacks.
pub const fn no_callbacks() -> klp_callbacks {
    // SAFETY: all zeroes is a valid `klp_callbacks`: four null pointers, which mean no callback.
    unsafe { zeroed() }
}

/// Patch entry. `replace` requests an atomic replace of all patches loaded before.
///
/// # Safety
/// - `objects` points to a list that ends with [`end_of_objects`].
/// - `states` is null or points to a list that ends with id 0.
/// - Both lists live as long as the module.
pub const unsafe fn patch(
    module: *mut module,
    objects: *mut klp_object,
    states: *mut klp_state,
    replace: bool,
) -> klp_patch {
    // SAFETY: all zeroes is a valid `klp_patch`; `klp_enable_patch()` initialises its internal members.
    let mut patch: klp_patch = unsafe { zeroed() };
    patch.mod_ = module;
    patch.objs = objects;
    patch.states = states;
    patch.replace = replace;
    patch
}

/// Enables the patch of this module. The transition continues after the return.
///
/// # Safety
/// `patch` is the patch of this module, made by [`patch()`], and is not enabled yet.
pub unsafe fn enable(patch: *mut klp_patch) -> c_int {
    // SAFETY: `patch` is a complete table with ended lists, belongs to this module, and is not enabled yet (contract
    // of this function).
    unsafe { bindings::own::klp_enable_patch(patch) }
}

/// Text as the bytes of a `.modinfo` entry.
pub const fn modinfo<const N: usize>(text: &str) -> [u8; N] {
    let mut bytes = [0; N];
    let mut at = 0;
    while at < N {
        bytes[at] = text.as_bytes()[at];
        at += 1;
    }
    bytes
}

/// Creates the module of a live patch: tables, `.modinfo` entries, init and exit. The generated root of a module
/// calls it; fixes do not.
///
/// Each object has a type that lists its callbacks, `()` for none, its functions, and the thunks of the originals that fixes
/// call. `exits` are the types whose
/// [`Exit::exit`](super::exit::Exit::exit) runs when the module is removed, in this order.
#[macro_export]
macro_rules! patch {
    (
        description: $description:literal,
        replace: $replace:literal,
        states: [$(($id:literal, $version:literal),)*],
        exits: [$($exit:ty,)*],
        objects: [$({
            name: $object:expr,
            callbacks: $callbacks:ty,
            functions: [$(($name:literal, $position:literal, $new:expr),)*],
            originals: [$(($original:literal, $thunk:path),)*],
        },)*],
    ) => {
        const _: () = {
            use $crate::bindings::{klp_func, klp_object, klp_patch, klp_state, module};
            use $crate::core::{callbacks, original, state, tables};

            unsafe extern "C" {
                // modpost defines it in the C part of the module.
                static mut __this_module: module;
            }

            static mut STATES: [klp_state; 1 + <[u32]>::len(&[$($version),*])] =
                [$(state::entry($id, $version),)* state::entry(0, 0)];

            static mut OBJECTS: [klp_object; 1 + <[&str]>::len(&[$(stringify!($object)),*])] = [
                $({
                    // Explicit section: an object without functions has only the end entry, and zeroes would go to
                    // .bss.
                    #[unsafe(link_section = ".data.klp_funcs")]
                    static mut FUNCS: [klp_func; 1 + <[&::core::ffi::CStr]>::len(&[$($name),*])] = [
                        // SAFETY: the generated trait checks the type of the method against the prototype of the
                        // replaced function.
                        $(unsafe { tables::func($name, $position, $new as *const ::core::ffi::c_void) },)*
                        tables::end_of_funcs(),
                    ];
                    struct Thunks;
                    impl original::Thunks for Thunks {
                        #[allow(unused_mut, unused_variables)]
                        fn all(
                            mut each: impl FnMut(
                                &'static ::core::ffi::CStr,
                                *const u8,
                            ) -> Result<(), $crate::core::errno::Errno>,
                        ) -> Result<(), $crate::core::errno::Errno> {
                            $(each($original, $thunk as *const u8)?;)*
                            Ok(())
                        }
                    }
                    const CALLBACKS: $crate::bindings::klp_callbacks =
                        if <[&::core::ffi::CStr]>::is_empty(&[$($original),*]) {
                            callbacks::table::<$callbacks>()
                        } else {
                            callbacks::table::<original::Checked<Thunks, $callbacks>>()
                        };
                    // SAFETY: FUNCS is a static list that ends with `end_of_funcs`.
                    unsafe { tables::object($object, CALLBACKS, (&raw mut FUNCS).cast()) }
                },)*
                tables::end_of_objects(),
            ];

            // SAFETY: OBJECTS and STATES are static lists that end with `end_of_objects` and id 0.
            #[unsafe(no_mangle)]
            static mut __klp_patch: klp_patch = unsafe {
                tables::patch(
                    &raw mut __this_module,
                    (&raw mut OBJECTS).cast(),
                    if <[u32]>::len(&[$($version),*]) == 0 {
                        ::core::ptr::null_mut()
                    } else {
                        (&raw mut STATES).cast()
                    },
                    $replace,
                )
            };

            const DESCRIPTION: &str = concat!("description=", $description, "\0");

            #[used(compiler)]
            #[unsafe(link_section = ".modinfo")]
            static LICENSE: [u8; 12] = *b"license=GPL\0";
            #[used(compiler)]
            #[unsafe(link_section = ".modinfo")]
            static LIVEPATCH: [u8; 12] = *b"livepatch=Y\0";
            #[used(compiler)]
            #[unsafe(link_section = ".modinfo")]
            static TEXT: [u8; DESCRIPTION.len()] = tables::modinfo(DESCRIPTION);

            #[unsafe(no_mangle)]
            #[unsafe(link_section = ".init.text")]
            unsafe extern "C" fn init_module() -> $crate::bindings::ffi::c_int {
                // SAFETY: the module loader calls the init function once, so the patch is not enabled yet;
                // `__klp_patch` is the patch of this module, made by `tables::patch`.
                unsafe { tables::enable(&raw mut __klp_patch) }
            }

            // The kernel does not unload a module without an exit function.
            #[unsafe(no_mangle)]
            #[unsafe(link_section = ".exit.text")]
            extern "C" fn cleanup_module() {
                $(<$exit as $crate::core::exit::Exit>::exit();)*
            }

            // Pointers to both functions: without them objtool assumes that no pointer refers to the functions and
            // seals their ENDBR.
            #[used(compiler)]
            #[unsafe(link_section = ".init.data")]
            static INIT: unsafe extern "C" fn() -> $crate::bindings::ffi::c_int = init_module;
            #[used(compiler)]
            #[unsafe(link_section = ".exit.data")]
            static EXIT: extern "C" fn() = cleanup_module;
        };
    };
}
