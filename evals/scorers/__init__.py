"""What is right about one answer: one scorer per file, each with its definition and where it comes from.

A scorer's `score` takes a sample and what came back for it, and gives figures by name: only those that apply, so that a
missing figure is never taken for a zero. FIGURES beside it says how each is to be read. All are deterministic and need
no model, but for the one in judged.py, which is off unless a judge is named. None of the deterministic ones is called
faithfulness: that word belongs to what a model judges.
"""
