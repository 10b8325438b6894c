//! The templates deployed and the packaged functions run, in an AWS and a Slack that others wrote.
//!
//! MiniStack takes `infra/security-account.yaml`, `member-account.yaml` and `enforced-account.yaml`, runs the functions out of
//! the very zips that `make package` makes (those for x86-64, or for arm64 where the machine is that) under their roles, with
//! every signature checked and every right enforced, calls them
//! by the queues and by the schedule, and has one clock for all, which the stories set; emulate is the Slack. Linux alone,
//! since functions are Linux programs that MiniStack starts as they are.
//!
//! What MiniStack does not do, and where it is proven instead:
//!
//! | what | instead |
//! |---|---|
//! | the way from one account's bus to another's, and who may take it: the bus's policy, the forwarder's role | the harness carries the event over; `infrastructure::trust`, and Guard's `the_bus_admits_forwarders_of_the_organization` |
//! | retries and dead letters of rules, of the schedule, and of a begin that failed | Guard's `targets_retry_and_give_up_visibly`, `schedules_retry_and_give_up_visibly`; `tests/e2e`'s runs that begin again |
//! | the partitions that a role may write, `dynamodb:LeadingKeys` | `infrastructure::permissions` |
//! | CloudTrail: the harness says what it would say of a call | the samples of `events/`; the ties of rules and samples |
//! | point-in-time recovery, encryption and deletion protection, log retention | Guard's `the_ledger_is_protected`, `queues_are_encrypted_and_keep_for_days`, `logs_are_kept_and_end` |
//! | alarms that fire, mails that arrive; an alarm over a query of metrics is not even taken | the ties of alarms and metrics; Guard's `alarms_reach_a_person` |
//! | a Lambda's memory, its network and its cold start under AWS | `make bench` measures starts and memory on this machine |
//! | indexes that lag, IAM that lags, transactions that collide, reports that take minutes | `tests/e2e`, over `crates/local` |
//!
//! What the harness leaves out of the templates is `CHANGES` in `installation`, each with its reason.
#![expect(clippy::indexing_slicing, clippy::panic, reason = "a test says so by failing")]

mod doctor;
mod drills;
mod installation;
mod packages;
mod roles;
mod stories;
