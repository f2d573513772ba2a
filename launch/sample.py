"""Lets a run's model go on writing after a prompt.

  python -m launch.sample --workdir=DIR [--prompt=TEXT] [--length=500]
      [--temperature=0.8] [--top_k=K] [--top_p=P] [--seed=0] [--checkpoint=best]
"""

from absl import flags

from launch.cli import program

FLAGS = flags.FLAGS
flags.DEFINE_string("workdir", None, "Folder of the run.")
flags.DEFINE_string("prompt", "", "What the model reads first; a newline when empty.")
flags.DEFINE_integer("length", 500, "Characters to draw.")
flags.DEFINE_float("temperature", 0.8, "1 draws from the model, less is sharper, 0 the likeliest.")
flags.DEFINE_integer("top_k", None, "Draw among the K likeliest.")
flags.DEFINE_float("top_p", None, "Draw among the likeliest that reach probability P.")
flags.DEFINE_integer("seed", 0, "Seed of the draws.", lower_bound=0, upper_bound=2**32 - 1)
flags.DEFINE_enum("checkpoint", "best", ["best", "latest"], "Which checkpoint.")


def main() -> None:
  """Prints the prompt and what follows it, as it is drawn."""
  import dlx
  from dlx import doctor
  from dlx.errors import UserError

  if FLAGS.length < 1:
    raise UserError(f"--length={FLAGS.length}: expected at least 1")
  if not FLAGS.temperature >= 0:
    raise UserError(f"--temperature={FLAGS.temperature}: expected 0 or more")
  if FLAGS.top_k is not None and FLAGS.top_k < 1:
    raise UserError(f"--top_k={FLAGS.top_k}: expected at least 1")
  if FLAGS.top_p is not None and not 0 < FLAGS.top_p <= 1:
    raise UserError(f"--top_p={FLAGS.top_p}: expected 0 < top_p <= 1")
  run = dlx.load_run(program.required("workdir"), checkpoint=FLAGS.checkpoint)
  doctor.check()
  if not hasattr(run.experiment, "sample"):
    raise UserError(f"{run.config.experiment} does not sample")
  options = {"temperature": FLAGS.temperature, "top_k": FLAGS.top_k, "top_p": FLAGS.top_p}
  pieces = run.experiment.sample(run, FLAGS.prompt, FLAGS.length, seed=FLAGS.seed, **options)
  for i, piece in enumerate(pieces):
    print((FLAGS.prompt if i == 0 else "") + piece, end="", flush=True)
  print()


if __name__ == "__main__":
  program.run(main)
