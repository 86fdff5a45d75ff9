mod alloc; mod systems; mod tally; mod threads; mod workloads;
use workloads::*; use threads::Layout::*;
fn main(){
  for s in systems::all() { for w in [Work::Tell{senders:1,layout:OneThread},Work::Tell{senders:8,layout:TwoThreads},Work::AskInSequence{layout:OneThread},Work::AskInFlight{askers:64,layout:TwoThreads},Work::Ring,Work::FanOut{layout:TwoThreads},Work::SpawnAndStop,Work::Idle{used:false},Work::AllocationsPerTell,Work::AllocationsPerAsk] { if s.takes(w) { eprintln!("{} {:?} {:?}", s.name(), w, s.measure(w, Size::Quick)); } } }
}
