//! The same call to several servers at once; answers are handed over as they come.
//!
//! Time-outs are those of each connection: set a dead and a hard dead time there, and a silent server costs no more.

use std::sync::mpsc;

use rx_proto::CallFailure;
use rx_proto::rpc::Request;
use rx_proto::xdr::Xdr;

use crate::client::Connection;

/// What the receiver of answers wants next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// The remaining answers.
    Continue,
    /// No more: calls that are still out are given up as their answers come.
    Stop,
}

/// Calls all of `connections` with `request`; `on_answer` gets the index and answer of each as they come, on this
/// thread. Returns when all have answered or failed, or `on_answer` has had enough and the rest has ended.
pub fn call_all<R: Xdr + Send>(
    connections: &[&Connection],
    request: &Request<R>,
    mut on_answer: impl FnMut(usize, Result<R, CallFailure>) -> Next,
) {
    let (sender, answers) = mpsc::channel();
    std::thread::scope(|scope| {
        for (index, connection) in connections.iter().enumerate() {
            let sender = sender.clone();
            scope.spawn(move || {
                // The receiver may have had enough.
                let _ = sender.send((index, request.call(*connection)));
            });
        }
        drop(sender);
        while let Ok((index, answer)) = answers.recv() {
            if on_answer(index, answer) == Next::Stop {
                break;
            }
        }
    });
}
