"""What is answered to who asks for a prediction."""
