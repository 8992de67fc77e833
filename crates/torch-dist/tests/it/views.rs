//! Parameters and gradients as views of flat buffers.

use osler_torch_dist::{DistError, set_data, set_grad};
use tch::{Device, Kind, Tensor};

const CPU: (Kind, Device) = (Kind::Float, Device::Cpu);

fn leaf(shape: &[i64]) -> Tensor {
    Tensor::ones(shape, CPU).set_requires_grad(true)
}

#[test]
fn backward_adds_into_the_flat_buffer() {
    let params = [leaf(&[2, 3]), leaf(&[4])];
    let mut flat = Tensor::zeros([10], CPU);
    set_grad(&params[0], &flat.narrow(0, 0, 6).view([2, 3])).unwrap();
    set_grad(&params[1], &flat.narrow(0, 6, 4)).unwrap();
    let step = || (params[0].sum(Kind::Float) * 2.0 + params[1].sum(Kind::Float) * 3.0).backward();
    step();
    step();
    let values = |flat: &Tensor| Vec::<f32>::try_from(flat).unwrap();
    assert_eq!(values(&flat), [4.0, 4.0, 4.0, 4.0, 4.0, 4.0, 6.0, 6.0, 6.0, 6.0]);
    let _ = flat.zero_();
    step();
    assert_eq!(values(&flat), [2.0, 2.0, 2.0, 2.0, 2.0, 2.0, 3.0, 3.0, 3.0, 3.0]);
    assert_eq!(params[1].grad().data_ptr(), flat.narrow(0, 6, 4).data_ptr());
}

#[test]
fn a_parameter_in_a_flat_buffer_stays_the_same_leaf() {
    let param = leaf(&[2, 2]);
    let clone = param.shallow_clone();
    let mut flat = Tensor::full([6], 5.0, CPU);
    set_data(&param, &flat.narrow(0, 2, 4).view([2, 2])).unwrap();
    assert!(param.is_leaf() && param.requires_grad());
    param.square().sum(Kind::Float).backward();
    assert_eq!(Vec::<f32>::try_from(param.grad().view(-1)).unwrap(), [10.0; 4]);
    let _ = flat.fill_(-1.0);
    assert_eq!(param.sum(Kind::Float).double_value(&[]), -4.0);
    assert_eq!(clone.sum(Kind::Float).double_value(&[]), -4.0, "shallow clones follow");
}

#[test]
fn what_does_not_fit_is_refused() {
    let param = leaf(&[2, 2]);
    let fitting = Tensor::zeros([2, 2], CPU);
    type Setter = fn(&Tensor, &Tensor) -> Result<(), DistError>;
    for setter in [set_grad as Setter, set_data as Setter] {
        for (target, value, words) in [
            (&param, Tensor::zeros([4], CPU), "shapes"),
            (&param, Tensor::zeros([2, 2], (Kind::Double, Device::Cpu)), "kinds"),
            (&param, Tensor::new(), "undefined"),
            (&param, leaf(&[2, 2]), "requires a gradient"),
            (&fitting, Tensor::zeros([2, 2], CPU), "not a leaf that requires"),
            (&(&param * 1.0), Tensor::zeros([2, 2], CPU), "not a leaf that requires"),
        ] {
            match setter(target, &value) {
                Err(DistError::Invalid { reason, .. }) => {
                    assert!(reason.contains(words), "{words}: {reason}")
                }
                other => panic!("{words}: {other:?}"),
            }
        }
    }
}
