//! How things are mended, where more than one finding says so.
//!
//! `make deploy` deploys a template, and CloudFormation compares it with the template before, not with what is there: what
//! somebody deleted or changed by hand stays so. Hence these two ways, which `infra/RUNBOOK.md` spells out.

const SECTION: &str = "infra/RUNBOOK.md, \"Something was deleted or changed by hand\"";

/// What brings back a part of the security account's stack.
pub(super) fn stack(prefix: &str) -> String {
    format!(
        "by a change set on the stack {prefix}, with `--deployment-mode REVERT_DRIFT`, as in {SECTION}; deploying the same \
         template again changes nothing"
    )
}

/// What brings back a part of an account's own stack, which the `StackSet` of this name (without the prefix) made: `member`, or
/// `enforced` for the disabler.
pub(super) fn member(prefix: &str, set: &str, account: &str) -> String {
    format!(
        "by the StackSet {prefix}-{set}, delete the stack instance of {account} and create it again (`aws cloudformation \
         delete-stack-instances`, `create-stack-instances`), or, if it is the management account, mend its own stack there, \
         as in {SECTION}; deploying the same template again changes nothing"
    )
}
