// SPDX-License-Identifier: GPL-2.0-only
//! A step before the function: the new path MTU, or the new next hop, is stored in the route also where no socket is found.
#![no_std]

use core::ptr::null;

use klp::prelude::*;
use replaced::original;

/// The replacements of this fix.
pub struct Patch;

impl replaced::vmlinux for Patch {
    unsafe extern "C" fn __udp6_lib_err(
        skb: *mut sk_buff,
        opt: *mut inet6_skb_parm,
        type_: u8,
        code: u8,
        offset: c_int,
        info: __be32,
        udptable: *mut udp_table,
    ) -> c_int {
        // SAFETY: the packet has a device, which holds its namespace.
        unsafe {
            let dev = *sk_buff::dev(skb);
            let (net, index) = (dev_net(dev), (*dev).ifindex);
            let uid = sock_net_uid(net, null());
            match c_int::from(type_) {
                ICMPV6_PKT_TOOBIG => ip6_update_pmtu(skb, net, info, index, 0, uid),
                NDISC_REDIRECT => ip6_redirect(skb, net, index, 0, uid),
                _ => {}
            }
        }
        // SAFETY: the arguments are those of the replacement.
        unsafe { original::vmlinux::__udp6_lib_err(skb, opt, type_, code, offset, info, udptable) }
    }
}

klp::livepatch!(Patch);
