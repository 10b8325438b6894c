//! What keytide says on Slack, and how it says it there.

#[cfg(test)]
mod client;
#[cfg(test)]
mod due;
#[cfg(test)]
mod events;
#[cfg(test)]
mod goldens;
#[cfg(test)]
mod hostile;
#[cfg(test)]
mod hostile_sweep;
#[cfg(test)]
mod sweep;
