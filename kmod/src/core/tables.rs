// SPDX-License-Identifier: GPL-2.0-only
//! The livepatch core's tables, as constants: everything in them is known at compile time.
//!
//! C header: `include/linux/livepatch.h`

use ::core::ffi::CStr;
use ::core::mem::zeroed;
use ::core::ptr::null;

use bindings::ffi::{c_int, c_ulong, c_void};
use bindings::{klp_callbacks, klp_func, klp_object, klp_patch, klp_state, module};

/// One function: `old_name` is replaced by `new_func`. `position` is 0 where the object has only one symbol of that name,
/// else which of them, from 1, in the order of kallsyms.
///
/// # Safety
/// `new_func` must be a function with the prototype of the one that it replaces.
pub const unsafe fn func(old_name: &'static CStr, position: c_ulong, new_func: *const c_void) -> klp_func {
    // SAFETY: all zeroes is a value of klp_func: its internal part is set up by klp_enable_patch().
    let mut func: klp_func = unsafe { zeroed() };
    func.old_name = old_name.as_ptr().cast();
    func.new_func = new_func.cast_mut();
    func.old_sympos = position;
    func
}

/// The entry that ends a list of functions.
pub const fn end_of_funcs() -> klp_func {
    // SAFETY: all zeroes is a value of klp_func, and a null `old_name` is what ends a list.
    unsafe { zeroed() }
}

/// One object: `name` is a module's, or none for the kernel itself.
///
/// # Safety
/// `funcs` must point to a list that ends with [`end_of_funcs`] and lives as long as the module.
pub const unsafe fn object(
    name: Option<&'static CStr>,
    callbacks: klp_callbacks,
    funcs: *mut klp_func,
) -> klp_object {
    // SAFETY: all zeroes is a value of klp_object: its internal part is set up by klp_enable_patch().
    let mut object: klp_object = unsafe { zeroed() };
    object.name = match name {
        Some(name) => name.as_ptr().cast(),
        None => null(),
    };
    object.callbacks = callbacks;
    object.funcs = funcs;
    object
}

/// The entry that ends a list of objects.
pub const fn end_of_objects() -> klp_object {
    // SAFETY: all zeroes is a value of klp_object, and a null `funcs` is what ends a list.
    unsafe { zeroed() }
}

/// No callbacks.
pub const fn no_callbacks() -> klp_callbacks {
    // SAFETY: all zeroes is a value of klp_callbacks: none of them.
    unsafe { zeroed() }
}

/// The patch itself. `replace` makes it take the place of every patch that was loaded before, atomically.
///
/// # Safety
/// `objects` must point to a list that ends with [`end_of_objects`], `states` is null or points to one that ends with an id of 0;
/// both live as long as the module.
pub const unsafe fn patch(
    module: *mut module,
    objects: *mut klp_object,
    states: *mut klp_state,
    replace: bool,
) -> klp_patch {
    // SAFETY: all zeroes is a value of klp_patch: its internal part is set up by klp_enable_patch().
    let mut patch: klp_patch = unsafe { zeroed() };
    patch.mod_ = module;
    patch.objs = objects;
    patch.states = states;
    patch.replace = replace;
    patch
}

/// Enables the patch of this module; its transition goes on after this returns.
///
/// # Safety
/// `patch` must be this module's own, made by [`patch()`], and not enabled yet.
pub unsafe fn enable(patch: *mut klp_patch) -> c_int {
    // SAFETY: the caller's duty.
    unsafe { bindings::own::klp_enable_patch(patch) }
}

/// A text as the bytes of a `.modinfo` entry.
pub const fn modinfo<const N: usize>(text: &str) -> [u8; N] {
    let mut bytes = [0; N];
    let mut at = 0;
    while at < N {
        bytes[at] = text.as_bytes()[at];
        at += 1;
    }
    bytes
}

/// Makes the module of a live patch: its tables, `.modinfo` entries, init and exit. The generated root of a module calls
/// it; fixes do not.
///
/// Each object has the type that lists its callbacks, `()` where it has none, and its functions. `exits` are the types whose
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
        },)*],
    ) => {
        const _: () = {
            use $crate::bindings::{klp_func, klp_object, klp_patch, klp_state, module};
            use $crate::core::{callbacks, state, tables};

            unsafe extern "C" {
                // modpost defines it in the C part of the module.
                static mut __this_module: module;
            }

            static mut STATES: [klp_state; 1 + <[u32]>::len(&[$($version),*])] =
                [$(state::entry($id, $version),)* state::entry(0, 0)];

            static mut OBJECTS: [klp_object; 1 + <[&str]>::len(&[$(stringify!($object)),*])] = [
                $({
                    // Named, because an object with callbacks alone has only the end here, and zeroes would go to .bss.
                    #[unsafe(link_section = ".data.klp_funcs")]
                    static mut FUNCS: [klp_func; 1 + <[&::core::ffi::CStr]>::len(&[$($name),*])] = [
                        // SAFETY: the method's type is checked against the prototype by the generated trait.
                        $(unsafe { tables::func($name, $position, $new as *const ::core::ffi::c_void) },)*
                        tables::end_of_funcs(),
                    ];
                    const CALLBACKS: $crate::bindings::klp_callbacks = callbacks::table::<$callbacks>();
                    // SAFETY: FUNCS is a static list with an end.
                    unsafe { tables::object($object, CALLBACKS, (&raw mut FUNCS).cast()) }
                },)*
                tables::end_of_objects(),
            ];

            // SAFETY: both are static lists with an end.
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
                // SAFETY: called once, by the module loader; the patch is this module's.
                unsafe { tables::enable(&raw mut __klp_patch) }
            }

            // A module without an exit function cannot be removed.
            #[unsafe(no_mangle)]
            #[unsafe(link_section = ".exit.text")]
            extern "C" fn cleanup_module() {
                $(<$exit as $crate::core::exit::Exit>::exit();)*
            }

            // Without these objtool takes the two for never called through a pointer and seals their ENDBR.
            #[used(compiler)]
            #[unsafe(link_section = ".init.data")]
            static INIT: unsafe extern "C" fn() -> $crate::bindings::ffi::c_int = init_module;
            #[used(compiler)]
            #[unsafe(link_section = ".exit.data")]
            static EXIT: extern "C" fn() = cleanup_module;
        };
    };
}
