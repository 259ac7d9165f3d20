"""HTML, cell texts and sentences, shared by reports and the form."""
