//! Loops compiled for wide vectors.
//!
//! The build is for any x86-64. What is worth it is compiled again for processors with wider vectors, and the right one is called.
//!
//! # Invariants
//!
//! 1. AVX2 and AVX-512 are used where the processor says that it has them.

/// A loop. For its vectors to be wide, [`Loop::run`] and what it calls must be `#[inline(always)]`: only what is compiled into the
/// functions of this module is compiled for them.
pub trait Loop {
    /// What it yields.
    type Output;
    /// Runs it.
    fn run(self) -> Self::Output;
}

/// Runs a loop with the widest vectors that the processor has.
#[inline]
pub fn widest<L: Loop>(work: L) -> L::Output {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::is_x86_feature_detected as has;
        if has!("avx512bw") && has!("avx512dq") && has!("avx512vl") && has!("bmi1") && has!("bmi2")
        {
            // SAFETY: invariant 1: the processor has what the function asks for.
            return unsafe { by_avx512(work) };
        }
        if has!("avx2") && has!("bmi1") && has!("bmi2") {
            // SAFETY: invariant 1: the processor has what the function asks for.
            return unsafe { by_avx2(work) };
        }
    }
    work.run()
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512bw,avx512dq,avx512vl,bmi1,bmi2")]
fn by_avx512<L: Loop>(work: L) -> L::Output {
    work.run()
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,bmi1,bmi2")]
fn by_avx2<L: Loop>(work: L) -> L::Output {
    work.run()
}
