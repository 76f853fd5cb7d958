"""What results say: verdicts, sentences, figures."""
