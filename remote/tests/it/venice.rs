//! What a broker of its kind does, and where it fails: the behaviours and the defects of Venice's IPC, each as a test.
//!
//! Venice (jlangch/venice, 1.12.55 to 1.13.13) has a broker process with functions, queues and topics, and clients over
//! TCP and Unix sockets. Its suite, and the probes with which its defects were found, are the best list there is of what
//! users of such a thing meet. These tables go through that list: the behaviour, ours, and the test. Tests without a
//! path are here, those of a suite over transports are under `conformance` (as `conformance::tcp::...`).

/// Runs each test over plain and over encrypted bytes, and over the simulated network.
macro_rules! twins {
    ($($test:ident)*) => {
        mod plain {
            use callboard::System;
            $(#[callboard::test(arbiters)]
            async fn $test(system: System) {
                super::$test::<crate::wires::Tcp>(system).await;
            })*
        }

        mod encrypted {
            use callboard::System;
            $(#[callboard::test(arbiters)]
            async fn $test(system: System) {
                super::$test::<crate::tls::TlsWire>(system).await;
            })*
        }

        mod simulated {
            use callboard::System;
            $(#[callboard::test(both)]
            async fn $test(system: System) {
                super::$test::<crate::wires::Simulated>(system).await;
            })*
        }
    };
}

mod clients;
mod encryption;
mod limits;
mod queues;
mod rights;
mod servers;
