//! Segment routing: numbers that VPP takes on trust.

use super::tables::Tables;
use crate::messages::sr::{
    SrLocalsidAddDel, SrLocalsidAddDelV2, SrPolicyAdd, SrPolicyAddV2, SrPolicyMod, SrPolicyModV2,
    SrSteeringAddDel,
};
use crate::types::{NO_INDEX, SR_MAX_SIDS, SrBehavior, SrPolicyOp, SrSteer, Srv6SidList};
use std::any::Any;

/// # Errors
/// Why the message must not be sent.
pub(super) fn check(tables: &Tables, message: &dyn Any) -> Result<(), String> {
    if let Some(add) = message.downcast_ref::<SrPolicyAdd>() {
        segments(&add.sids, add.is_encap)
    } else if let Some(add) = message.downcast_ref::<SrPolicyAddV2>() {
        segments(&add.sids, add.is_encap)
    } else if let Some(modify) = message.downcast_ref::<SrPolicyMod>() {
        segments(&modify.sids, modify.operation == SrPolicyOp::SR_POLICY_OP_API_ADD)
    } else if let Some(modify) = message.downcast_ref::<SrPolicyModV2>() {
        segments(&modify.sids, modify.operation == SrPolicyOp::SR_POLICY_OP_API_ADD)
    } else if let Some(sid) = message.downcast_ref::<SrLocalsidAddDel>() {
        localsid(tables, sid.is_del, sid.behavior, sid.sw_if_index, sid.fib_table)
    } else if let Some(sid) = message.downcast_ref::<SrLocalsidAddDelV2>() {
        localsid(tables, sid.is_del, sid.behavior, sid.sw_if_index, sid.fib_table)
    } else if let Some(steering) = message.downcast_ref::<SrSteeringAddDel>() {
        match steering.traffic_type {
            _ if steering.table_id == NO_INDEX => Ok(()),
            SrSteer::SR_STEER_API_IPV4 => tables.require(false, steering.table_id),
            SrSteer::SR_STEER_API_IPV6 => tables.require(true, steering.table_id),
            _ => Ok(()),
        }
    } else {
        Ok(())
    }
}

fn segments(sids: &Srv6SidList, used: bool) -> Result<(), String> {
    match usize::from(sids.num_sids) {
        0 if used => Err("VPP crashes on a list without segments".to_owned()),
        count if count > SR_MAX_SIDS => Err(format!(
            "VPP reads {count} segments from a message that holds {SR_MAX_SIDS}"
        )),
        _ => Ok(()),
    }
}

/// A table that is missing is accepted for T, DT4 and DT6 and then crashes the next `sr_localsids_dump`; one in which
/// to delete crashes at once.
fn localsid(
    tables: &Tables,
    is_del: bool,
    behavior: SrBehavior,
    table: u32,
    fib_table: u32,
) -> Result<(), String> {
    if is_del {
        return tables.require(true, fib_table);
    }
    match behavior {
        SrBehavior::SR_BEHAVIOR_API_T | SrBehavior::SR_BEHAVIOR_API_DT6 => tables.require(true, table),
        SrBehavior::SR_BEHAVIOR_API_DT4 => tables.require(false, table),
        SrBehavior(number) if number > SrBehavior::SR_BEHAVIOR_API_UA.0 => Err(format!(
            "VPP crashes on behaviour {number} unless a plugin offers it"
        )),
        _ => Ok(()),
    }
}
