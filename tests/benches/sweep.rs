//! A day's sweep: of one account as others' tools were measured on, of a thousand accounts, and of accounts
//! that grow.

pub(crate) mod accounts;
pub(crate) mod growth;
mod organization;
pub(crate) mod peers;
pub(crate) mod units;
