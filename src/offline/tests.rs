//! The tools' reader against real directories, whole and damaged in every way.

mod damage;
mod export;
mod fold;
mod live;
mod rig;
mod salvage;
mod verify;
