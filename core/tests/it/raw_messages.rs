//! Messages that are nothing but bytes, and how the others travel (G37).

use callboard::codec::{Bytes, Schema, Shape};
use callboard::{Actor, Blob, Context, Handler, Message, System, WireMessage, codec};
use serde::{Deserialize, Serialize};

#[derive(Message, Serialize, Deserialize, Debug, PartialEq)]
#[message(name = "camera.frame", version = 2, reply = Blob, raw)]
struct Frame(Blob);

#[derive(Message, Serialize, Deserialize, Debug, PartialEq)]
#[message(name = "camera.named", raw)]
struct Named {
    picture: Blob,
}

#[derive(Message, Serialize, Deserialize, Debug, PartialEq)]
#[message(name = "camera.move", reply = (i8, i8))]
struct Move {
    left: i8,
    up: i8,
}

#[test]
fn g37_a_raw_message_travels_as_the_bytes_it_is() {
    let bytes = Bytes::from(vec![7; 100_000]);
    let frame = Frame(bytes.clone().into());
    assert_eq!(frame.as_raw().map(|raw| raw.as_ptr()), Some(bytes.as_ptr()));
    let taken = Frame::take_owned(bytes.clone()).unwrap();
    assert_eq!(taken.0.as_ptr(), bytes.as_ptr());
    assert_eq!(taken, frame);
    for shape in [Shape::Named, Shape::Positional] {
        let mut out = vec![1];
        frame.put(&mut out, shape).unwrap();
        assert_eq!((out[0], &out[1..]), (1, &bytes[..]));
        assert_eq!(Frame::take(&out[1..]).unwrap(), frame);
    }
    let named = Named::take(b"abc").unwrap();
    assert_eq!(&*named.picture, b"abc");
    assert_eq!(named.as_raw().map(|raw| &raw[..]), Some(&b"abc"[..]));
    assert_eq!((Frame::NAME, Frame::VERSION), ("camera.frame", 2));
}

#[test]
fn g37_raw_is_part_of_what_both_sides_must_have_in_common() {
    const { assert!(Frame::RAW && Named::RAW && !Move::RAW) };
    assert_eq!(Frame::schema(), Some(Schema::RAW));
    assert_eq!(codec::schema::<Blob>(), Some(Schema::RAW));
    let other = Move::schema();
    assert!(other.is_some() && other != Some(Schema::RAW));
    // Inside something it is a value like others, of a schema of its own.
    assert_ne!(codec::schema::<(Blob,)>(), codec::schema::<(Vec<u8>,)>());
}

#[test]
fn g37_a_message_of_messagepack_is_taken_in_either_shape() {
    let turn = Move { left: -1, up: 2 };
    for (shape, bytes) in [
        (Shape::Named, &b"\x82\xA4left\xFF\xA2up\x02"[..]),
        (Shape::Positional, b"\x92\xFF\x02"),
    ] {
        let mut out = Vec::new();
        assert_eq!(turn.put(&mut out, shape), Ok(shape));
        assert_eq!(out, bytes);
        assert_eq!(Move::take(&out), Ok(Move { left: -1, up: 2 }));
        let taken = Move::take_owned(out.into());
        assert_eq!(taken, Ok(Move { left: -1, up: 2 }));
    }
    assert_eq!(turn.as_raw(), None);
    assert!(Move::take(b"no").is_err());
}

struct Camera;

impl Actor for Camera {}

impl Handler<Frame> for Camera {
    async fn handle(&mut self, Frame(picture): Frame, _: &mut Context<Self>) -> Blob {
        picture
    }
}

#[callboard::test(both)]
async fn a_raw_message_inside_a_process_is_moved(system: System) {
    let camera = system.actor(|| Camera).start();
    let picture = Bytes::from(vec![1; 10_000]);
    let at = picture.as_ptr();
    let back = camera.ask(Frame(picture.into())).await.unwrap();
    assert_eq!(back.as_ptr(), at);
}
